"""The only training loop."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, optim
from torch.optim.lr_scheduler import CosineAnnealingLR

from complexity_control.digits import Digits, scale
from complexity_control.method import Method
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import Params, Posterior, drawn, layer_noise, logits, normal, sampled_logits, shapes


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
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate; the cosine ends at 0
    estimator: Literal["local", "weights"] = "local"  # draws each digit's preactivations, or a minibatch's weights
    bias_noise: Literal["std", "variance"] = "std"  # what scales the biases' noise; later code: variance
    shuffle: bool = True  # the digits anew for each epoch
    prior_std: float = 0.1  # standard deviation of p(w), the paper's diag(0,1)
    init_log_std: float = -3.0  # where all log standard deviations start
    samples: int = 1  # sampled lambdas for each minibatch, of a hypernetwork
    lam_range: tuple[float, float] = (0.1, 100.0)  # where they are sampled, evenly in the logarithm
    stratified: bool = False  # one of them from each of as many equal parts of the logarithmic range
    lam_power: float = 0.0  # the loss at lambda is weighed by lambda^-lam_power in eq. (7)


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
Step = Callable[[Batch], Tensor]  # changes parameters by a minibatch, and returns its losses [S]


def fit(
    method: Method,
    models: Sequence[Model],
    digits: Digits,
    settings: Settings,
    begin: Params | None = None,
    on_epoch: Callable[[Tensor], object] = lambda losses: None,
    stepper: Callable[[Params], Step] | None = None,
) -> Params:
    """Maximise the generalised evidence by stochastic gradients, for a stack of models.

    A model with a lambda maximises eq. (4); a hypernetwork maximises eq. (7), the expectation over lambda, by as many
    lambdas for each minibatch as settings.samples says.

    Args: models, S of them. begin, the tensors to start from, [S, ...], which stay as they were; by default random.
        on_epoch, called after each epoch with its mean losses, nats a digit [S]. stepper, a faster along(...).
    Returns: the trained tensors, [S, ...].
    Raises: DivergedError, naming epoch, lambda and seed.
    """
    device, count = digits.train_labels.device, len(digits.train_labels)
    params = {n: t.clone() for n, t in (begin or start(method, models, digits, settings)).items()}
    generators, layers = [generator(m, "training", device) for m in models], sizes(digits, settings)
    step = stepper(params) if stepper else along(gradient_of(method, count, settings), count, settings, params)
    own = [[m.lam] for m in models if m.lam is not None]  # a hypernetwork has none
    lam = torch.tensor(own, device=device)
    for epoch in range(1, settings.epochs + 1):
        order = torch.arange(count, device=device).repeat(len(models), 1)
        if settings.shuffle:
            order = torch.stack([torch.randperm(count, generator=g, device=device) for g in generators])
        total = torch.zeros(len(models), device=device)
        for chosen in order.split(settings.batch_size, dim=1):
            images = digits.train_images.index_select(0, chosen.flatten()).view(*chosen.shape, -1)
            labels = digits.train_labels.index_select(0, chosen.flatten()).view(chosen.shape)
            lam = lam if own else sampled_lambdas(generators, settings)
            each = [g for g in generators for _ in lam[0]]
            noise = (layer_noise(each, layers[1:], chosen.shape[1]) if settings.estimator == "local"
                     else [normal(each, shape) for shape in shapes(layers).values()])  # fmt: skip
            total.add_(step(Batch(images, labels, lam, noise)), alpha=chosen.shape[1] / count)
        _check(total, epoch, models)
        on_epoch(total)
    return params


def loss(method: Method, params: Params, batch: Batch, count: int, settings: Settings) -> Tensor:
    """Minus the generalised evidence for a digit, by a minibatch: eq. (4), and its mean over the lambdas, eq. (7).

    Args: count, digits to train on.
    Returns: nats a digit, shape [S].
    """
    images, labels, lam, noise = batch
    x, q = scale(images), method.posterior(params, lam)
    power = {"W": 1, "b": 2 if settings.bias_noise == "variance" else 1}  # of the deviations, in the noise
    drawn_from = Posterior(q.mean, {n: power[n[0]] * t for n, t in q.log_std.items()})
    with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        if settings.estimator == "local":
            outputs = sampled_logits(drawn_from, x, noise, method.mean_pass and method.mean_pass(params, lam, x))
        else:
            outputs = logits(drawn(drawn_from, noise), x)
    # the likelihood is a mean over the batch, so the KL is divided by the count to keep eq. (4)'s balance
    fits = log_likelihood(outputs.float(), labels.repeat_interleave(lam.shape[1], 0)) / labels.shape[1]
    losses = -evidence(fits, kl(q, settings.prior_std) / count, lam.flatten()).view_as(lam)
    return (losses * lam**-settings.lam_power if settings.lam_power else losses).mean(1)


def gradient_of(method: Method, count: int, settings: Settings) -> Gradient:
    """The function from a minibatch, one of `count` digits in all, to the clipped gradient and the losses [S]."""

    def summed(params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
        losses = loss(method, params, batch, count, settings)
        return losses.sum(), losses  # the models share no parameter: the sum's gradient is each one's own

    def clipped(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        gradients, losses = torch.func.grad(summed, has_aux=True)(params, batch)
        clip = settings.clip
        return {n: t.clamp(-clip, clip) if clip else t for n, t in gradients.items()}, losses

    return clipped


def along(gradient: Gradient, count: int, settings: Settings, params: Params) -> Step:
    """Steps of torch's optimizer along a gradient, in a training by `count` digits."""
    tensors, rate = list(params.values()), settings.learning_rate
    optimizer = (optim.Adam(tensors, lr=rate, fused=True) if settings.optimizer == "adam"
                 else optim.SGD(tensors, lr=rate, momentum=settings.momentum))  # fmt: skip
    schedule = CosineAnnealingLR(optimizer, steps(count, settings)) if settings.schedule == "cosine" else None

    def step(batch: Batch) -> Tensor:
        gradients, losses = gradient(params, batch)
        for name, tensor in params.items():
            tensor.grad = gradients[name]
        optimizer.step()
        if schedule:
            schedule.step()
        return losses

    return step


def sampled_lambdas(generators: Sequence[Generator], settings: Settings) -> Tensor:
    """[S, K]: samples of lambda, K for each hypernetwork, by default 10^U(-1, 2) of eq. (7)."""
    draws = torch.stack([torch.rand(settings.samples, generator=g, device=g.device) for g in generators])
    if settings.stratified:
        draws = (torch.arange(settings.samples, device=draws.device) + draws) / settings.samples
    low, high = map(math.log10, settings.lam_range)
    return 10 ** (low + (high - low) * draws)


def _check(losses: Tensor, epoch: int, models: Sequence[Model]) -> None:
    for model, finite in zip(models, losses.isfinite().tolist(), strict=True):
        if not finite:
            raise DivergedError(f"training diverged in epoch {epoch} at {model}: the loss is no longer finite. "
                                "Lower learning_rate, or clip the gradient with clip > 0.")  # fmt: skip


def steps(count: int, settings: Settings) -> int:
    """Steps of the optimizer for one model: minibatches × epochs."""
    return math.ceil(count / settings.batch_size) * settings.epochs


def updates(trainable: int, count: int, settings: Settings) -> int:
    """Number of parameter updates of one model (Table 1): trainable numbers × steps."""
    return trainable * steps(count, settings)
