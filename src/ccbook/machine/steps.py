"""What training takes, by machine.sparse: to float32 accuracy, for what is_sparse of kernels says yes to."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccbook.machine.products import ROW_IS_BYTE, WEIGHTS
from ccbook.machine.sparse import BETAS, NAMES, adam, steps
from ccbook.machine.vectors import LANES
from complexity_control import training
from complexity_control.posterior import Params, Posterior
from complexity_control.training import Batch, Gradient, Settings, Step

NONE: Any = (np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)) * 2  # in the place of tensors


def whole(images: np.ndarray) -> np.ndarray:
    """Images with zeros at the end of each row, to whole vectors."""
    missing = -images.shape[2] % LANES
    return np.pad(images, ((0, 0), (0, 0), (0, missing))) if missing else images


def gradient(count: int, settings: Settings) -> Gradient:
    """The clipped gradient of training.loss by the tensors of posteriors, and the losses of all posteriors [S * K].

    To float32 accuracy, for what is_sparse of kernels takes. What it returns is overwritten when it is called again.
    """
    made: Params = {}

    def clipped(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        if not made or made["mean.W1"].shape != params["mean.W1"].shape:
            made.update({name: torch.empty_like(tensor) for name, tensor in params.items()})
        return made, _called((arrays(params), arrays(made), *[(NONE, NONE)] * 2), batch, count, settings)

    return clipped


def by_adam(count: int, settings: Settings, params: Params) -> Step:
    """training.along gradient(...), by Adam in the same call, which takes less time."""
    made = [{n: torch.zeros_like(t) for n, t in params.items()} for _ in ("gradient", "first moment", "second moment")]
    tensors, number = [arrays(each) for each in (params, *made)], itertools.count(1)

    def step(batch: Batch) -> Tensor:
        return _called(tensors, batch, count, settings, *pace(next(number), count, settings))

    return step


def adam_along(gradient: Gradient, count: int, settings: Settings, params: Params) -> Step:
    """training.along, by Adam, which takes less time for many tensors."""
    number = itertools.count(1)
    changed = {n: [rows(t), rows(torch.zeros_like(t)), rows(torch.zeros_like(t))] for n, t in params.items()}

    def step(batch: Batch) -> Tensor:
        gradients, losses = gradient(params, batch)
        now = pace(next(number), count, settings)
        for name, (value, first, second) in changed.items():
            adam(value, rows(gradients[name].contiguous()), first, second, *now)
        return losses

    return step


def pace(t: int, count: int, settings: Settings) -> tuple[float, float]:
    """The rate and the correction of sparse.adam, in step t of a training by `count` digits."""
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * (t - 1) / training.steps(count, settings))) / 2
    return rate / (1 - BETAS[0] ** t), (1 - BETAS[1] ** t) ** -0.5


def rows(tensor: Tensor) -> np.ndarray:
    """Its numbers as a matrix, in the same memory."""
    return tensor.view(-1, tensor.shape[-1]).numpy()


def arrays(tensors: Params) -> Any:
    """Of the means and of the log standard deviations, in the order of NAMES; they share the tensors' memory."""
    return tuple(tuple([tensors[f"{part}.{n}"].numpy() for n in NAMES]) for part in Posterior._fields)


def _called(tensors: Sequence[Any], batch: Batch, count: int, settings: Settings,
            rate: float = 0, correction: float = 1) -> Tensor:  # fmt: skip
    """sparse.steps, which writes to the arrays of posteriors, gradients, first and second moments; the losses."""
    noise, lam = [n.numpy() for n in batch.noise], batch.lam.numpy()
    of_digits, of_weights = (tuple(noise), NONE) if len(noise) == 2 else (NONE[::2], tuple(noise))
    share = (lam ** np.float32(-settings.lam_power) / lam.shape[1]).ravel()
    losses = steps(whole(batch.images.numpy()), WEIGHTS, ROW_IS_BYTE, batch.labels.numpy(),
                   settings.bias_noise == "variance", of_digits, of_weights, *tensors, share,
                   share * lam.ravel() / np.float32(count), settings.prior_std, settings.clip or math.inf, rate,
                   correction)  # fmt: skip
    return torch.from_numpy(losses).float()
