"""The variational posterior of a fully connected network, and its forward passes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Generator, Tensor

Params = dict[str, Tensor]


class Posterior(NamedTuple):
    """Mean-field Gaussian q(w); the leading axis of every tensor is the stack of models."""

    mean: Params  # W1 [S, 784, 100], b1 [S, 100], W2 [S, 100, 10], b2 [S, 10]
    log_std: Params  # natural log of the standard deviation, same shapes


def from_flat(params: Params) -> Posterior:
    """The posterior stored under the names mean.W1, log_std.W1, ..."""
    named = {part: {n.removeprefix(f"{part}."): t for n, t in params.items() if n.startswith(f"{part}.")}
             for part in Posterior._fields}  # fmt: skip
    return Posterior(**named)


def to_flat(q: Posterior) -> Params:
    """The inverse of from_flat."""
    return {f"{part}.{name}": t for part, params in q._asdict().items() for name, t in params.items()}


def shapes(sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a network with the layer sizes [inputs, hidden..., classes]."""
    named: dict[str, tuple[int, ...]] = {}
    for k, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        named |= {f"W{k}": (fan_in, fan_out), f"b{k}": (fan_out,)}
    return named


def _layers(params: Params) -> Iterator[tuple[str, str]]:
    """The names of each layer's weight and bias, first layer first."""
    for k in range(1, len(params) // 2 + 1):
        yield f"W{k}", f"b{k}"


def sampled_logits(q: Posterior, x: Tensor, noise: Sequence[Tensor], first_mean: Tensor | None = None) -> Tensor:
    """Logits under weights drawn from q, by local reparameterisation (Kingma et al., 2015).

    Each digit sees its own draw of the weights: its preactivations are Gaussian with mean x W + b and
    variance x² σ_W² + σ_b², and are drawn directly.

    Args: x [S, B, inputs]; q may hold K posteriors for each of the S, that see the same digits. noise, standard
        normal, for each layer [S * K, B, width]. first_mean, x W1 if it is already known [S * K, B, width].
    Returns: [S * K, B, classes].
    """
    for (weight, bias), draw in zip(_layers(q.mean), noise, strict=True):
        first = weight == "W1"
        x = x if first else x.relu()
        mean = first_mean if first and first_mean is not None else product(x, q.mean[weight])
        variance = product(x * x, (2 * q.log_std[weight]).exp()) + (2 * q.log_std[bias]).exp().unsqueeze(1)
        x = mean + q.mean[bias].unsqueeze(1) + variance.sqrt() * draw
    return x


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x [S, B, inputs] times weight [S * K, inputs, outputs], K weights in turn for each x: [S * K, B, outputs]."""
    # one wide product for all K: narrow ones would take each x through the cache K times
    wide = weight.unflatten(0, (len(x), -1)).transpose(1, 2)
    return (x @ wide.flatten(2)).unflatten(2, wide.shape[2:]).transpose(1, 2).flatten(0, 1)


def drawn(q: Posterior, noise: Sequence[Tensor]) -> Params:
    """Weights drawn from q, one draw for all digits: mean + deviation × noise, of the means' order and shapes."""
    named = zip(q.mean.items(), noise, strict=True)
    return {name: torch.addcmul(mean, q.log_std[name].exp(), draw) for (name, mean), draw in named}


def logits(weights: Params, x: Tensor) -> Tensor:
    """Logits of networks with given weights, K for each of x's S: x [S, B, inputs], returned [S * K, B, classes]."""
    for weight, bias in _layers(weights):
        x = product(x if weight == "W1" else x.relu(), weights[weight]) + weights[bias].unsqueeze(1)
    return x


def layer_noise(generators: Sequence[Generator], widths: Sequence[int], batch: int) -> list[Tensor]:
    """What `sampled_logits` takes: for each layer [S, batch, width], one generator for each model of the stack."""
    return [normal(generators, (batch, width)) for width in widths]


def normal(generators: Sequence[Generator], shape: Sequence[int]) -> Tensor:
    """Standard normal noise [S, *shape]; each model draws from its own generator alone."""
    return torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators])


def uniform(generators: Sequence[Generator], shape: Sequence[int], bound: float) -> Tensor:
    """Uniform in ±bound, [S, *shape]; each model draws from its own generator alone."""
    draws = [torch.rand(tuple(shape), generator=g, device=g.device) for g in generators]
    return bound * (2 * torch.stack(draws) - 1)
