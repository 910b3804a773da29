"""Method (e): the linear hypernetwork."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from complexity_control.method import FEEDS, Feed, Method, stems
from complexity_control.methods.direct import direct
from complexity_control.posterior import Params, Posterior, from_flat


def linear(feed: Feed = "scaled", init_slope: float = 0.0, init_ones: float = 0.0) -> Method:
    """Eq. (6): every mean and log standard deviation is lambda b2 + b3.

    b3 starts as in direct, b2 as init_slope times another such start, plus init_ones; at 0 all lambdas start alike.
    """

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        constants = direct().init(generators, sizes, init_log_std)
        others = direct().init(generators, sizes, init_log_std)
        slopes = {f"{name}.b2": init_slope * t + init_ones for name, t in others.items()}
        return slopes | {f"{name}.b3": t for name, t in constants.items()}

    def line(slope: Tensor, constant: Tensor, lam: Tensor) -> Tensor:
        z = FEEDS[feed](lam)
        z = z.view(*z.shape, *[1] * (slope.dim() - 1))
        return torch.addcmul(constant.unsqueeze(1), z, slope.unsqueeze(1)).flatten(0, 1)

    def posterior(params: Params, lam: Tensor) -> Posterior:
        return from_flat({n: line(params[f"{n}.b2"], params[f"{n}.b3"], lam) for n in stems(params, ".b3")})

    def mean_pass(params: Params, lam: Tensor, x: Tensor) -> Tensor:
        return line(x @ params["mean.W1.b2"], x @ params["mean.W1.b3"], lam)

    return Method(init, posterior, mean_pass)
