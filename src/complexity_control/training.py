"""The only training loop."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.digits import Digits, scale
from complexity_control.method import Method
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import Params, drawn, logits, normal, sampled_logits, shapes


@dataclass(frozen=True)
class Settings:
    """How models are trained; the defaults are those of the authors' later public code."""

    hidden: tuple[int, ...] = (100,)  # units of each hidden layer
    epochs: int = 25
    batch_size: int = 128  # digits; Table 1's counts imply 128
    learning_rate: float = 5e-4
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.0  # of sgd
    clip: float = 1.0  # gradient entries are cut to ±clip; 0: not
    precision: Literal["float32", "bfloat16"] = "float32"  # what matrix products round their inputs to
    estimator: Literal["local", "weights"] = "local"  # draws each digit's preactivations, or a minibatch's weights
    shuffle: bool = True  # the digits anew for each epoch
    prior_std: float = 0.1  # standard deviation of p(w), the paper's diag(0,1)
    init_log_std: float = -3.0  # where all log standard deviations start
    samples: int = 1  # sampled lambdas for each minibatch, of a hypernetwork


class Model(NamedTuple):
    """One entry of a stack: what tells its training apart from the others'."""

    lam: float | None  # complexity parameter; None for a hypernetwork, which is trained for all
    seed: int

    def __str__(self) -> str:
        return f"seed {self.seed}" if self.lam is None else f"lambda {self.lam:g}, seed {self.seed}"


class Batch(NamedTuple):
    """What a step sees, for a stack of S models and K lambdas each."""

    images: Tensor  # [S, B, pixels]
    labels: Tensor  # [S, B]
    lam: Tensor  # [S, K]
    noise: list[Tensor]  # standard normal; for each layer [S * K, B, width], or for each tensor of the weights


class DivergedError(ArithmeticError):
    """A training whose loss is no longer a number."""


def generator(model: Model, purpose: str, device: torch.device | str) -> Generator:
    """The model's own source of randomness: it depends on seed, lambda and purpose, and on nothing else."""
    lam = "sampled" if model.lam is None else repr(float(model.lam))
    key = f"{purpose}, seed {model.seed}, lambda {lam}"
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
    return Generator(device=device).manual_seed(seed)


def start(method: Method, models: Sequence[Model], digits: Digits, settings: Settings) -> Params:
    """The random parameters that a stack of models starts from."""
    generators = [generator(m, "initialisation", digits.train_labels.device) for m in models]
    return method.init(generators, sizes(digits, settings), settings.init_log_std)


def sizes(digits: Digits, settings: Settings) -> list[int]:
    """Layer sizes of the network: inputs, hidden units, classes."""
    return [digits.train_images.shape[1], *settings.hidden, digits.classes]


Gradient = Callable[[Params, Batch], tuple[Params, Tensor]]


def fit(
    method: Method,
    models: Sequence[Model],
    digits: Digits,
    settings: Settings,
    begin: Params | None = None,
    on_epoch: Callable[[float], object] = lambda loss: None,
    gradient: Gradient | None = None,
) -> Params:
    """Maximise the generalised evidence by stochastic gradients, for a stack of models.

    A model with a lambda maximises eq. (4); a hypernetwork maximises eq. (7), the expectation over lambda, by as many
    lambdas for each minibatch as settings.samples says.

    Args: models, S of them. begin, the tensors to start from, [S, ...], which stay as they were; by default random.
        on_epoch, called after each epoch with its mean loss, nats a digit. gradient, a faster gradient_of(...).
    Returns: the trained tensors, [S, ...].
    Raises: DivergedError, naming epoch, lambda and seed.
    """
    device, count = digits.train_labels.device, len(digits.train_labels)
    params = {n: t.clone() for n, t in (begin or start(method, models, digits, settings)).items()}
    generators = [generator(m, "training", device) for m in models]
    layers, local = sizes(digits, settings), settings.estimator == "local"
    optimizer = _optimizer(list(params.values()), settings)
    gradient = gradient or gradient_of(method, count, settings)

    for epoch in range(1, settings.epochs + 1):
        order = torch.arange(count, device=device).repeat(len(models), 1)
        if settings.shuffle:
            order = torch.stack([torch.randperm(count, generator=g, device=device) for g in generators])
        total = torch.zeros(len(models), device=device)
        for chosen in order.split(settings.batch_size, dim=1):
            images = digits.train_images.index_select(0, chosen.flatten()).view(*chosen.shape, -1)
            labels = digits.train_labels.index_select(0, chosen.flatten()).view(chosen.shape)
            lam = sampled_lambdas(models, generators, settings.samples)
            what = [(chosen.shape[1], width) for width in layers[1:]] if local else shapes(layers).values()
            noise = [normal([g for g in generators for _ in lam[0]], shape) for shape in what]
            gradients, losses = gradient(params, Batch(images, labels, lam, noise))
            for name, tensor in params.items():
                tensor.grad = gradients[name]
            optimizer.step()
            total += losses * (chosen.shape[1] / count)
        _check(total, epoch, models)
        on_epoch(float(total.mean()))
    return params


def loss(method: Method, params: Params, batch: Batch, count: int, settings: Settings) -> Tensor:
    """Minus the generalised evidence for a digit, by a minibatch: eq. (4), and its mean over the lambdas, eq. (7).

    Args: count, digits to train on.
    Returns: nats a digit, shape [S].
    """
    images, labels, lam, noise = batch
    x, q = scale(images), method.posterior(params, lam)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        if settings.estimator == "local":
            outputs = sampled_logits(q, x, noise, method.mean_pass(params, lam, x))
        else:
            outputs = logits(drawn(q, noise), x)
    # the likelihood is a mean over the batch, so the KL is divided by the count to keep eq. (4)'s balance
    fits = log_likelihood(outputs.float(), labels.repeat_interleave(lam.shape[1], 0)) / labels.shape[1]
    return -evidence(fits, kl(q, settings.prior_std) / count, lam.flatten()).view_as(lam).mean(1)


def gradient_of(method: Method, count: int, settings: Settings) -> Gradient:
    """The function from a minibatch to the clipped gradient and the losses [S] of the models.

    Args: count, digits to train on.
    """

    def summed(params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
        losses = loss(method, params, batch, count, settings)
        return losses.sum(), losses  # the models share no parameter: the sum's gradient is each one's own

    def clipped(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        gradients, losses = torch.func.grad(summed, has_aux=True)(params, batch)
        clip = settings.clip
        return {n: t.clamp(-clip, clip) if clip else t for n, t in gradients.items()}, losses

    return clipped


def sampled_lambdas(models: Sequence[Model], generators: Sequence[Generator], samples: int) -> Tensor:
    """[S, K]: each model's own lambda, or for a hypernetwork K = samples of them, 10^U(-1, 2) of eq. (7)."""
    if models[0].lam is None:
        draws = [torch.rand(samples, generator=g, device=g.device) for g in generators]
        return 10 ** (3 * torch.stack(draws) - 1)
    return torch.tensor([[m.lam] for m in models], device=generators[0].device)


def _optimizer(tensors: list[Tensor], settings: Settings) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(tensors, lr=settings.learning_rate, momentum=settings.momentum)
    return torch.optim.Adam(tensors, lr=settings.learning_rate, fused=True)


def _check(losses: Tensor, epoch: int, models: Sequence[Model]) -> None:
    for model, finite in zip(models, losses.isfinite().tolist(), strict=True):
        if not finite:
            raise DivergedError(
                f"training diverged in epoch {epoch} at {model}: the loss is no longer finite. "
                "Lower learning_rate, or clip the gradient with clip > 0."
            )


def steps(count: int, settings: Settings) -> int:
    """Steps of the optimizer for one model: minibatches × epochs."""
    return math.ceil(count / settings.batch_size) * settings.epochs


def updates(trainable: int, count: int, settings: Settings) -> int:
    """Number of parameter updates of one model (Table 1): trainable numbers × steps."""
    return trainable * steps(count, settings)
