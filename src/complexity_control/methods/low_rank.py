"""Method (c): the low-rank hypernetwork."""

from collections.abc import Sequence

from torch import Generator, Tensor

from complexity_control.method import FEEDS, Feed, Method, stems
from complexity_control.methods.direct import direct
from complexity_control.posterior import Params, Posterior, from_flat, uniform

HIDDEN = 50  # ReLU units between lambda and each tensor, eq. (5)


def low_rank(feed: Feed = "scaled", init_slope: float = 1.0) -> Method:
    """Eq. (5): each weight matrix is a constant plus a product of two vectors that depend on lambda.

    Each tensor, mean or log standard deviation, has its own hidden layer h (f in the code). A matrix is
    (h U1 + c1)ᵀ (h U2 + c2) + B1, which differs from B1 by rank one; a bias is h U1 + c1 + B1. U and c start
    uniform in ±init_slope/√50.
    """

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        params: Params = {}
        for name, constant in direct().init(generators, sizes, init_log_std).items():
            params |= {f"{name}.f_weight": uniform(generators, (1, HIDDEN), 1)}
            params |= {f"{name}.f_bias": uniform(generators, (1, HIDDEN), 1)}
            for k, width in enumerate(constant.shape[1:], start=1):
                params[f"{name}.U{k}"] = uniform(generators, (HIDDEN, width), init_slope * HIDDEN**-0.5)
                params[f"{name}.c{k}"] = uniform(generators, (1, width), init_slope * HIDDEN**-0.5)
            params[f"{name}.B1"] = constant
        return params

    def vectors(params: Params, name: str, lam: Tensor) -> list[Tensor]:
        """What depends on lambda: two vectors for a matrix, one for a bias; each [S, K, width]."""
        z = FEEDS[feed](lam).unsqueeze(2)
        f = (z @ params[f"{name}.f_weight"] + params[f"{name}.f_bias"]).relu()  # [S, K, 50]
        return [f @ params[f"{name}.U{k}"] + params[f"{name}.c{k}"] for k in (1, 2) if f"{name}.U{k}" in params]

    def posterior(params: Params, lam: Tensor) -> Posterior:
        flat: Params = {}
        for name in stems(params, ".B1"):
            first, *second = vectors(params, name, lam)
            generated = first.unsqueeze(3) * second[0].unsqueeze(2) if second else first
            flat[name] = (generated + params[f"{name}.B1"].unsqueeze(1)).flatten(0, 1)
        return from_flat(flat)

    def mean_pass(params: Params, lam: Tensor, x: Tensor) -> Tensor:
        first, second = vectors(params, "mean.W1", lam)
        projected = (x @ first.transpose(1, 2)).transpose(1, 2).unsqueeze(3)  # [S, K, B, 1]
        return ((x @ params["mean.W1.B1"]).unsqueeze(1) + projected * second.unsqueeze(2)).flatten(0, 1)

    return Method(init, posterior, mean_pass)
