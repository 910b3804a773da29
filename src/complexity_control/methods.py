"""What is trained: each method makes its parameters, and a posterior from them for any lambda."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.posterior import Params, Posterior, normal, shapes


class Method(NamedTuple):
    """A way to a posterior for any lambda; the leading axis of every parameter is the stack of S models."""

    # (generators, layer sizes, initial log standard deviation) -> parameters to train, each [S, ...]
    init: Callable[[Sequence[Generator], Sequence[int], float], Params]
    # (parameters, lambda [S, K]) -> posteriors [S * K, ...], the K of the first model first
    posterior: Callable[[Params, Tensor], Posterior]


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


direct = Method(_init_direct, _direct_posterior)
"""Eq. (4) itself: the parameters are the means and log standard deviations, lambda only weighs the KL.

Means start Xavier-uniform, biases N(0, 1), log standard deviations at one value.
"""


HIDDEN = 50  # ReLU units between lambda and each tensor, eq. (5)

# how lambda is fed to a hypernetwork; raw, eq. (6) as printed, diverges at lambda = 100
FEEDS: dict[str, Callable[[Tensor], Tensor]] = {
    "scaled": lambda lam: lam / 100,
    "log": torch.log10,
    "raw": lambda lam: lam,
}


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

    def posterior(params: Params, lam: Tensor) -> Posterior:
        z = FEEDS[feed](lam).unsqueeze(2)
        flat: Params = {}
        for name in [n.removesuffix(".B1") for n in params if n.endswith(".B1")]:
            f = (z @ params[f"{name}.f_weight"] + params[f"{name}.f_bias"]).relu()  # [S, K, 50]
            generated = f @ params[f"{name}.U1"] + params[f"{name}.c1"]
            if f"{name}.U2" in params:
                second = f @ params[f"{name}.U2"] + params[f"{name}.c2"]
                generated = generated.unsqueeze(3) * second.unsqueeze(2)
            flat[name] = (generated + params[f"{name}.B1"].unsqueeze(1)).flatten(0, 1)
        return from_flat(flat)

    return Method(init, posterior)


def linear(feed: str = "scaled") -> Method:
    """Eq. (6): every mean and log standard deviation is lambda b2 + b3. b2 starts at zero, b3 as in direct."""

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        constants = direct.init(generators, sizes, init_log_std)
        slopes = {f"{name}.b2": torch.zeros_like(t) for name, t in constants.items()}
        return slopes | {f"{name}.b3": t for name, t in constants.items()}

    def posterior(params: Params, lam: Tensor) -> Posterior:
        z = FEEDS[feed](lam)
        flat: Params = {}
        for name in [n.removesuffix(".b3") for n in params if n.endswith(".b3")]:
            slope, constant = params[f"{name}.b2"].unsqueeze(1), params[f"{name}.b3"].unsqueeze(1)
            flat[name] = torch.addcmul(constant, z.view(*z.shape, *[1] * (slope.dim() - 2)), slope).flatten(0, 1)
        return from_flat(flat)

    return Method(init, posterior)


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
