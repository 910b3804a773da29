"""What is trained: each method makes its parameters, and a posterior from them for any lambda."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.posterior import Params, Posterior, normal, product, shapes


class Method(NamedTuple):
    """A way to a posterior for any lambda; the leading axis of every parameter is the stack of S models."""

    # (generators, layer sizes, initial log standard deviation) -> parameters to train, each [S, ...]
    init: Callable[[Sequence[Generator], Sequence[int], float], Params]
    # (parameters, lambda [S, K]) -> posteriors [S * K, ...], the K of the first model first
    posterior: Callable[[Params, Tensor], Posterior]
    # (parameters, lambda [S, K], x [S, B, inputs]) -> x times the posteriors' mean.W1, [S * K, B, width]; it costs
    # no matrix product for each lambda
    mean_pass: Callable[[Params, Tensor, Tensor], Tensor]


def _init_direct(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
    params: Params = {}
    for name, shape in shapes(sizes).items():
        if name.startswith("W"):
            # Xavier: keeps the variance of activations from layer to layer
            mean = _uniform(generators, shape, math.sqrt(6 / sum(shape)))
        else:
            mean = normal(generators, shape)
        params[f"mean.{name}"] = mean
        params[f"log_std.{name}"] = torch.full_like(mean, init_log_std)
    return params


def _direct_posterior(params: Params, lam: Tensor) -> Posterior:
    return from_flat(params)


def _direct_mean_pass(params: Params, lam: Tensor, x: Tensor) -> Tensor:
    return product(x, params["mean.W1"])


direct = Method(_init_direct, _direct_posterior, _direct_mean_pass)
"""Eq. (4) itself: the parameters are the means and log standard deviations, lambda only weighs the KL.

Means start Xavier-uniform, biases N(0, 1), log standard deviations at one value.
"""


HIDDEN = 50  # ReLU units between lambda and each tensor, eq. (5)

# how lambda is fed to a hypernetwork; raw is eq. (6) as printed
FEEDS: dict[str, Callable[[Tensor], Tensor]] = {
    "scaled": lambda lam: lam / 100,
    "log": torch.log10,
    "raw": lambda lam: lam,
}


@cache
def low_rank(feed: str = "scaled") -> Method:
    """Eq. (5): each weight matrix is a constant plus a product of two vectors that depend on lambda.

    Each tensor, mean or log standard deviation, has a hidden layer f of its own. A matrix is
    (f U1 + c1)ᵀ (f U2 + c2) + B1, of rank one beside B1; a bias is f U + c + B1.
    """

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        params: Params = {}
        for name, constant in direct.init(generators, sizes, init_log_std).items():
            params |= {f"{name}.f_weight": _uniform(generators, (1, HIDDEN), 1)}
            params |= {f"{name}.f_bias": _uniform(generators, (1, HIDDEN), 1)}
            for k, width in enumerate(constant.shape[1:], start=1):
                params[f"{name}.U{k}"] = _uniform(generators, (HIDDEN, width), HIDDEN**-0.5)
                params[f"{name}.c{k}"] = _uniform(generators, (1, width), HIDDEN**-0.5)
            params[f"{name}.B1"] = constant
        return params

    def vectors(params: Params, name: str, lam: Tensor) -> list[Tensor]:
        """What depends on lambda: two vectors for a matrix, one for a bias; each [S, K, width]."""
        z = FEEDS[feed](lam).unsqueeze(2)
        f = (z @ params[f"{name}.f_weight"] + params[f"{name}.f_bias"]).relu()  # [S, K, 50]
        return [f @ params[f"{name}.U{k}"] + params[f"{name}.c{k}"] for k in (1, 2) if f"{name}.U{k}" in params]

    def posterior(params: Params, lam: Tensor) -> Posterior:
        flat: Params = {}
        for name in _names(params, ".B1"):
            first, *second = vectors(params, name, lam)
            generated = first.unsqueeze(3) * second[0].unsqueeze(2) if second else first
            flat[name] = (generated + params[f"{name}.B1"].unsqueeze(1)).flatten(0, 1)
        return from_flat(flat)

    def mean_pass(params: Params, lam: Tensor, x: Tensor) -> Tensor:
        first, second = vectors(params, "mean.W1", lam)
        projected = (x @ first.transpose(1, 2)).transpose(1, 2).unsqueeze(3)  # [S, K, B, 1]
        return ((x @ params["mean.W1.B1"]).unsqueeze(1) + projected * second.unsqueeze(2)).flatten(0, 1)

    return Method(init, posterior, mean_pass)


@cache
def linear(feed: str = "scaled") -> Method:
    """Eq. (6): every mean and log standard deviation is lambda b2 + b3. b2 starts at zero, b3 as in direct."""

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        constants = direct.init(generators, sizes, init_log_std)
        slopes = {f"{name}.b2": torch.zeros_like(t) for name, t in constants.items()}
        return slopes | {f"{name}.b3": t for name, t in constants.items()}

    def line(slope: Tensor, constant: Tensor, lam: Tensor) -> Tensor:
        z = FEEDS[feed](lam)
        z = z.view(*z.shape, *[1] * (slope.dim() - 1))
        return torch.addcmul(constant.unsqueeze(1), z, slope.unsqueeze(1)).flatten(0, 1)

    def posterior(params: Params, lam: Tensor) -> Posterior:
        return from_flat({n: line(params[f"{n}.b2"], params[f"{n}.b3"], lam) for n in _names(params, ".b3")})

    def mean_pass(params: Params, lam: Tensor, x: Tensor) -> Tensor:
        return line(x @ params["mean.W1.b2"], x @ params["mean.W1.b3"], lam)

    return Method(init, posterior, mean_pass)


def _names(params: Params, ending: str) -> list[str]:
    """The names, without it, that end so."""
    return [name.removesuffix(ending) for name in params if name.endswith(ending)]


def _uniform(generators: Sequence[Generator], shape: Sequence[int], bound: float) -> Tensor:
    """Uniform in ±bound, [S, *shape]; each model draws from its own generator alone."""
    draws = [torch.rand(tuple(shape), generator=g, device=g.device) for g in generators]
    return bound * (2 * torch.stack(draws) - 1)


def from_flat(params: Params) -> Posterior:
    """The posterior stored under the names mean.W1, log_std.W1, ..."""
    named = {part: {n.removeprefix(f"{part}."): t for n, t in params.items() if n.startswith(f"{part}.")}
             for part in Posterior._fields}  # fmt: skip
    return Posterior(**named)


def to_flat(q: Posterior) -> Params:
    """The inverse of from_flat."""
    return {f"{part}.{name}": t for part, params in q._asdict().items() for name, t in params.items()}
