"""The only training loop."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.data import Digits, scale
from complexity_control.methods import Method, direct
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.parameters import Parameters
from complexity_control.posterior import Params, Posterior, sampled_logits


class Model(NamedTuple):
    """One entry of a stack: what tells its training apart from the others'."""

    lam: float  # complexity parameter
    seed: int


class DivergedError(ArithmeticError):
    """A training whose loss is no longer a number."""


def generator(model: Model, purpose: str, device: str) -> Generator:
    """The model's own source of randomness: it depends on seed, lambda and purpose, and on nothing else."""
    key = f"{purpose}, seed {model.seed}, lambda {float(model.lam)!r}"
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
    return Generator(device=device).manual_seed(seed)


def train(p: Parameters, digits: Digits, models: Sequence[Model], on_epoch: Callable[[], object]) -> Posterior:
    """The posteriors of a stack of models, trained from their own random starts."""
    sizes = [digits.train_images.shape[1], *p.hidden, digits.classes]
    generators = [generator(m, "initialisation", p.device) for m in models]
    params = fit(direct, direct.init(generators, sizes, p.init_log_std), models, digits, p, on_epoch)
    return direct.posterior(params, torch.tensor([m.lam for m in models]))


def fit(
    method: Method,
    params: Params,
    models: Sequence[Model],
    digits: Digits,
    p: Parameters,
    on_epoch: Callable[[], object] = lambda: None,
) -> Params:
    """Maximise the generalised evidence, eq. (4), for a stack of models by stochastic gradients.

    Args: params, the tensors to start from, [S, ...]; they stay as they were. models, S of them.
        on_epoch, called after each epoch.
    Returns: the trained tensors.
    Raises: DivergedError, naming epoch, lambda and seed.
    """
    params = {name: t.clone().requires_grad_() for name, t in params.items()}
    generators = [generator(m, "training", p.device) for m in models]
    lam = torch.tensor([m.lam for m in models], device=p.device)
    count = len(digits.train_labels)
    optimizer = _optimizer(list(params.values()), p)

    for epoch in range(1, p.epochs + 1):
        order = torch.stack([torch.randperm(count, generator=g, device=p.device) for g in generators])
        losses = torch.zeros_like(lam)
        for batch in order.split(p.batch_size, dim=1):
            x = scale(digits.train_images[batch])
            q = method.posterior(params, lam)
            # the likelihood is a mean over the batch, so the KL is divided by N to keep eq. (4)'s balance
            fits = log_likelihood(sampled_logits(q, x, generators), digits.train_labels[batch])
            loss = -evidence(fits / batch.shape[1], kl(q, p.prior_std) / count, lam)
            optimizer.zero_grad()
            loss.sum().backward()  # the models share no parameter: the sum's gradient is each one's own
            if p.clip:
                torch.nn.utils.clip_grad_value_(params.values(), p.clip)
            optimizer.step()
            losses += loss.detach()
        _check(losses, epoch, models)
        on_epoch()
    return {name: t.detach() for name, t in params.items()}


def _optimizer(tensors: list[Tensor], p: Parameters) -> torch.optim.Optimizer:
    if p.optimizer == "sgd":
        return torch.optim.SGD(tensors, lr=p.learning_rate)
    return torch.optim.Adam(tensors, lr=p.learning_rate, fused=True)


def _check(losses: Tensor, epoch: int, models: Sequence[Model]) -> None:
    for model, finite in zip(models, losses.isfinite().tolist(), strict=True):
        if not finite:
            raise DivergedError(
                f"training diverged in epoch {epoch} at lambda {model.lam:g}, seed {model.seed}: the loss is "
                "no longer finite. Lower learning_rate, or clip the gradient with clip > 0."
            )


def updates(trainable: int, count: int, p: Parameters) -> int:
    """Number of parameter updates of one model: trainable numbers × minibatches × epochs (Table 1)."""
    return trainable * math.ceil(count / p.batch_size) * p.epochs
