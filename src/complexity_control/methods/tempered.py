"""Method (g), which the paper doesn't have: the tempered hypernetwork."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from complexity_control.method import Method, stems
from complexity_control.methods.direct import direct
from complexity_control.posterior import Params, Posterior, from_flat

SPEED = 3.0  # a log price is so many times its trained number: it has far to go, and Adam's steps have one size


def lagrange(t: Tensor, degree: int) -> Tensor:
    """Lagrange's polynomials of the Chebyshev nodes, 1 at one of them and 0 at the others: [..., degree + 1]."""
    orders = torch.arange(degree + 1, device=t.device)
    angles = torch.linspace(math.pi, 0, degree + 1, dtype=t.dtype, device=t.device)  # the nodes are their cosines
    return (t.acos().unsqueeze(-1) * orders).cos() @ torch.linalg.inv((angles.unsqueeze(-1) * orders).cos())


def tempered(prior_std: float = 0.1, degree: int = 4, mean_degree: int = 4,
             lam_range: tuple[float, float] = (0.1, 100.0)) -> Method:  # fmt: skip
    """A weight of price e^a has mean m s and variance prior_std² (1 - s), s = sigmoid(a - ln lambda): eq. (4)'s optimum
    where the log-likelihood is quadratic with a diagonal Hessian. m is a polynomial of ln lambda, of mean_degree, and
    each input and output adds one, of degree (0: none), to ln m and to a; trained are their values at Chebyshev nodes.
    """
    low, high = map(math.log, lam_range)
    values = degree + 1 if degree else 0  # a constant is in m and a already

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        params: Params = {}
        kept = min(math.exp(init_log_std) / prior_std, 0.9) ** 2  # of the prior's variance, at the middle lambda
        start = ((low + high) / 2 + math.log((1 - kept) / kept)) / SPEED
        for name, mean in from_flat(direct().init(generators, sizes, init_log_std)).mean.items():
            params |= {f"{name}.m": mean.unsqueeze(1).repeat_interleave(mean_degree + 1, 1)}
            params |= {f"{name}.a": torch.full_like(mean, start)}
            for axis, width in enumerate(mean.shape[1:]):
                params |= {f"{name}.{p}{axis}": mean.new_zeros(len(mean), values, width) for p in ("gain", "shift")}
        return params

    def curve(params: Params, name: str, weights: Tensor) -> Tensor:  # the polynomials of both axes, added up
        first, *second = (weights @ params[f"{name}{k}"] for k in (0, 1) if f"{name}{k}" in params)
        return first.unsqueeze(3) + second[0].unsqueeze(2) if second else first

    def posterior(params: Params, lam: Tensor) -> Posterior:
        t = ((2 * lam.log() - low - high) / (high - low)).clamp(-1, 1)
        weights, mean_weights = lagrange(t, degree)[..., :values], lagrange(t, mean_degree)
        mean, log_std = {}, {}
        for name in stems(params, ".m"):
            a, at_nodes = params[f"{name}.a"].unsqueeze(1), params[f"{name}.m"].unsqueeze(1).unbind(2)
            each = (*lam.shape, *[1] * (a.dim() - 2))
            m = sum(mean_weights[..., k].view(each) * value for k, value in enumerate(at_nodes))
            x = SPEED * (a + curve(params, f"{name}.shift", weights)) - lam.log().view(each)
            mean[name] = (m * curve(params, f"{name}.gain", weights).exp() * x.sigmoid()).flatten(0, 1)
            log_std[name] = (math.log(prior_std) + torch.nn.functional.logsigmoid(-x) / 2).flatten(0, 1)
        return Posterior(mean, log_std)

    return Method(init, posterior)
