"""What a method is: parameters to train, and from them a posterior for any lambda."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.posterior import Params, Posterior


class Method(NamedTuple):
    """A way to a posterior for any lambda; the leading axis of every parameter is the stack of S models."""

    # (generators, layer sizes, initial log standard deviation) -> parameters to train, each [S, ...]
    init: Callable[[Sequence[Generator], Sequence[int], float], Params]
    # (parameters, lambda [S, K]) -> posteriors [S * K, ...], the K of the first model first
    posterior: Callable[[Params, Tensor], Posterior]
    # these two and x [S, B, inputs] -> x times mean.W1 [S * K, B, width], where no lambda needs a product of its own
    mean_pass: Callable[[Params, Tensor, Tensor], Tensor] | None = None


# how lambda is fed to a hypernetwork; raw is eqs. (5) and (6) as printed
Feed = Literal["scaled", "log", "raw"]
FEEDS: dict[Feed, Callable[[Tensor], Tensor]] = {
    "scaled": lambda lam: lam / 100,
    "log": torch.log10,
    "raw": lambda lam: lam,
}


def stems(params: Params, ending: str) -> list[str]:
    """The names that end so, without the ending."""
    return [name.removesuffix(ending) for name in params if name.endswith(ending)]
