"""Method (g), which the paper doesn't have: the tempered hypernetwork."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from complexity_control.method import Method, stems
from complexity_control.methods.direct import direct
from complexity_control.posterior import Params, Posterior, from_flat

SPEED = 5.0  # a log price is so many times its trained number: it has far to go, and Adam's steps have one size


def tempered(prior_std: float = 0.1, degree: int = 4, mean_degree: int = 2,
             lam_range: tuple[float, float] = (0.1, 100.0)) -> Method:  # fmt: skip
    """A weight of price e^a has the mean m s and the variance prior_std² (1 - s), where s = sigmoid(a - ln lambda).

    This is the optimum of eq. (4) for every lambda where the log-likelihood is quadratic with a diagonal Hessian. How
    m and the Hessian change with lambda is learnt: m is a Chebyshev series in ln lambda, of mean_degree, and each input
    and output of a layer adds one, of degree, to ln m and one to a. They start at zero, m as in direct, and a so that
    the middle lambda's log standard deviation is init_log_std, or near the prior's; outside lam_range they stay.
    """
    low, high = map(math.log, lam_range)

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        params: Params = {}
        kept = min(math.exp(init_log_std) / prior_std, 0.9) ** 2  # of the prior's variance, 1 - s
        start = ((low + high) / 2 + math.log((1 - kept) / kept)) / SPEED
        for name, mean in from_flat(direct().init(generators, sizes, init_log_std)).mean.items():
            orders = torch.cat([mean.unsqueeze(1), mean.new_zeros(len(mean), mean_degree, *mean.shape[1:])], 1)
            params |= {f"{name}.m": orders, f"{name}.a": torch.full_like(mean, start)}
            for axis, width in enumerate(mean.shape[1:]):
                params |= {f"{name}.{p}{axis}": mean.new_zeros(len(mean), degree, width) for p in ("gain", "shift")}
        return params

    def curve(params: Params, name: str, powers: Tensor) -> Tensor:  # the polynomials of both axes, added up
        first, *second = (powers[..., 1 : degree + 1] @ params[f"{name}{k}"] for k in (0, 1) if f"{name}{k}" in params)
        return first.unsqueeze(3) + second[0].unsqueeze(2) if second else first

    def posterior(params: Params, lam: Tensor) -> Posterior:
        t = ((2 * lam.log() - low - high) / (high - low)).clamp(-1, 1)
        powers = (t.acos().unsqueeze(2) * torch.arange(max(degree, mean_degree) + 1, device=t.device)).cos()
        mean, log_std = {}, {}
        for name in stems(params, ".m"):
            a, coefficients = params[f"{name}.a"].unsqueeze(1), params[f"{name}.m"].unsqueeze(1).unbind(2)
            each = (*lam.shape, *[1] * (a.dim() - 2))
            m = sum(powers[..., k].view(each) * c for k, c in enumerate(coefficients))
            x = SPEED * (a + curve(params, f"{name}.shift", powers)) - lam.log().view(each)
            mean[name] = (m * curve(params, f"{name}.gain", powers).exp() * x.sigmoid()).flatten(0, 1)
            log_std[name] = (math.log(prior_std) + logsigmoid(-x) / 2).flatten(0, 1)
        return Posterior(mean, log_std)

    return Method(init, posterior)
