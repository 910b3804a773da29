"""What is trained: each method makes its parameters, and a posterior from them for any lambda."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.posterior import Params, Posterior, normal, shapes


class Method(NamedTuple):
    """A way to a posterior for any lambda; the leading axis of every tensor is the stack of models."""

    # (generators, layer sizes, initial log standard deviation) -> parameters to train
    init: Callable[[Sequence[Generator], Sequence[int], float], Params]
    # (parameters, lambda [S]) -> posterior
    posterior: Callable[[Params, Tensor], Posterior]


def _init_direct(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
    params: Params = {}
    for name, shape in shapes(sizes).items():
        if name.startswith("W"):
            bound = math.sqrt(6 / sum(shape))  # Xavier: keeps the variance of activations from layer to layer
            draws = [torch.rand(shape, generator=g, device=g.device) for g in generators]
            mean = bound * (2 * torch.stack(draws) - 1)
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


def from_flat(params: Params) -> Posterior:
    """The posterior stored under the names mean.W1, log_std.W1, ..."""
    named = {part: {n.split(".")[1]: t for n, t in params.items() if n.startswith(f"{part}.")}
             for part in Posterior._fields}  # fmt: skip
    return Posterior(**named)


def to_flat(q: Posterior) -> Params:
    """The inverse of from_flat."""
    return {f"{part}.{name}": t for part, params in q._asdict().items() for name, t in params.items()}
