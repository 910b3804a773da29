"""The only training loop."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.data import Digits, scale
from complexity_control.methods import Method
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.parameters import Hypernetwork, Parameters
from complexity_control.posterior import Params, sampled_logits


class Model(NamedTuple):
    """One entry of a stack: what tells its training apart from the others'."""

    lam: float | None  # complexity parameter; None for a hypernetwork, which is trained for all
    seed: int

    def __str__(self) -> str:
        return f"seed {self.seed}" if self.lam is None else f"lambda {self.lam:g}, seed {self.seed}"


class DivergedError(ArithmeticError):
    """A training whose loss is no longer a number."""


def generator(model: Model, purpose: str, device: str) -> Generator:
    """The model's own source of randomness: it depends on seed, lambda and purpose, and on nothing else."""
    lam = "sampled" if model.lam is None else repr(float(model.lam))
    key = f"{purpose}, seed {model.seed}, lambda {lam}"
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
    return Generator(device=device).manual_seed(seed)


def start(method: Method, models: Sequence[Model], digits: Digits, p: Parameters) -> Params:
    """The random parameters that a stack of models starts from."""
    sizes = [digits.train_images.shape[1], *p.hidden, digits.classes]
    return method.init([generator(m, "initialisation", p.device) for m in models], sizes, p.init_log_std)


def fit(
    method: Method,
    params: Params,
    models: Sequence[Model],
    digits: Digits,
    p: Parameters,
    on_epoch: Callable[[], object] = lambda: None,
) -> Params:
    """Maximise the generalised evidence by stochastic gradients, for a stack of models.

    A model with a lambda maximises eq. (4); a hypernetwork maximises eq. (7), the expectation over lambda, by as many
    lambdas for each minibatch as p.samples says.

    Args: params, the tensors to start from, [S, ...]; they stay as they were. models, S of them.
        on_epoch, called after each epoch.
    Returns: the trained tensors.
    Raises: DivergedError, naming epoch, lambda and seed.
    """
    params = {name: t.clone().requires_grad_() for name, t in params.items()}
    generators = [generator(m, "training", p.device) for m in models]
    count = len(digits.train_labels)
    optimizer = _optimizer(list(params.values()), p)

    for epoch in range(1, p.epochs + 1):
        order = torch.stack([torch.randperm(count, generator=g, device=p.device) for g in generators])
        losses = torch.zeros(len(models), device=p.device)
        for batch in order.split(p.batch_size, dim=1):
            lam = _lambdas(models, generators, p)
            samples = lam.shape[1]
            x, labels = scale(digits.train_images[batch]), digits.train_labels[batch]
            q = method.posterior(params, lam)
            noise = [g for g in generators for _ in range(samples)]
            logits = sampled_logits(q, x.repeat_interleave(samples, 0), noise)
            # the likelihood is a mean over the batch, so the KL is divided by N to keep eq. (4)'s balance
            fits = log_likelihood(logits, labels.repeat_interleave(samples, 0)) / batch.shape[1]
            loss = -evidence(fits, kl(q, p.prior_std) / count, lam.flatten()).view_as(lam).mean(1)
            optimizer.zero_grad()
            loss.sum().backward()  # the models share no parameter: the sum's gradient is each one's own
            if p.clip:
                torch.nn.utils.clip_grad_value_(params.values(), p.clip)
            optimizer.step()
            losses += loss.detach()
        _check(losses, epoch, models)
        on_epoch()
    return {name: t.detach() for name, t in params.items()}


def _lambdas(models: Sequence[Model], generators: Sequence[Generator], p: Parameters) -> Tensor:
    """[S, K]: each model's own lambda, or for a hypernetwork K = p.samples of them, 10^U(-1, 2)."""
    if isinstance(p, Hypernetwork):
        draws = [torch.rand(p.samples, generator=g, device=g.device) for g in generators]
        return 10 ** (3 * torch.stack(draws) - 1)
    return torch.tensor([[m.lam] for m in models], device=p.device)


def _optimizer(tensors: list[Tensor], p: Parameters) -> torch.optim.Optimizer:
    if p.optimizer == "sgd":
        return torch.optim.SGD(tensors, lr=p.learning_rate, momentum=p.momentum)
    return torch.optim.Adam(tensors, lr=p.learning_rate, fused=True)


def _check(losses: Tensor, epoch: int, models: Sequence[Model]) -> None:
    for model, finite in zip(models, losses.isfinite().tolist(), strict=True):
        if not finite:
            raise DivergedError(
                f"training diverged in epoch {epoch} at {model}: the loss is no longer finite. "
                " Lower learning_rate, or clip the gradient with clip > 0."
            )


def steps(count: int, p: Parameters) -> int:
    """Steps of the optimizer for one model: minibatches × epochs."""
    return math.ceil(count / p.batch_size) * p.epochs


def updates(trainable: int, count: int, p: Parameters) -> int:
    """Number of parameter updates of one model (Table 1): trainable numbers × steps."""
    return trainable * steps(count, p)
