"""Methods (a) and (b), and each fine-tuning: the posterior's own parameters are trained, for one lambda."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from complexity_control.method import Method
from complexity_control.posterior import Params, Posterior, from_flat, normal, shapes, uniform


def direct() -> Method:
    """Eq. (4) itself: the parameters are the means and log standard deviations, lambda only weighs the KL.

    Means start Xavier-uniform, biases N(0, 1), log standard deviations at one value.
    """

    def init(generators: Sequence[Generator], sizes: Sequence[int], init_log_std: float) -> Params:
        params: Params = {}
        for name, shape in shapes(sizes).items():
            if name.startswith("W"):
                mean = uniform(generators, shape, math.sqrt(6 / sum(shape)))  # Xavier: activations keep their variance
            else:
                mean = normal(generators, shape)
            params[f"mean.{name}"] = mean
            params[f"log_std.{name}"] = torch.full_like(mean, init_log_std)
        return params

    def posterior(params: Params, lam: Tensor) -> Posterior:
        return from_flat(params)

    return Method(init, posterior)
