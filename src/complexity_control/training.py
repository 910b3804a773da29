"""The only training loop."""

import hashlib
import math
import sys
import timeit
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from complexity_control.data import Digits, scale
from complexity_control.methods import Method
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.parameters import Hypernetwork, Parameters
from complexity_control.posterior import Params, layer_noise, sampled_logits

WORTH_COMPILING = 2_000  # steps of one model; fewer are taken sooner than compiled


class Model(NamedTuple):
    """One entry of a stack: what tells its training apart from the others'."""

    lam: float | None  # complexity parameter; None for a hypernetwork, which is trained for all
    seed: int

    def __str__(self) -> str:
        return f"seed {self.seed}" if self.lam is None else f"lambda {self.lam:g}, seed {self.seed}"


class Batch(NamedTuple):
    """What a step sees, for a stack of S models and K lambdas each."""

    images: Tensor  # bytes [S, B, pixels]
    labels: Tensor  # [S, B]
    lam: Tensor  # [S, K]
    noise: list[Tensor]  # standard normal, for each layer [S * K, B, width]


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
    on_epoch: Callable[[float], object] = lambda loss: None,
) -> Params:
    """Maximise the generalised evidence by stochastic gradients, for a stack of models.

    A model with a lambda maximises eq. (4); a hypernetwork maximises eq. (7), the expectation over lambda, by as many
    lambdas for each minibatch as p.samples says.

    Args: params, the tensors to start from, [S, ...]; they stay as they were. models, S of them.
        on_epoch, called after each epoch with its mean loss, nats a digit.
    Returns: the trained tensors.
    Raises: DivergedError, naming epoch, lambda and seed.
    """
    params = {name: t.clone() for name, t in params.items()}
    generators = [generator(m, "training", p.device) for m in models]
    count, widths = len(digits.train_labels), [*p.hidden, digits.classes]
    optimizer = _optimizer(list(params.values()), p)
    gradient = _gradient(method, count, p.prior_std, p.clip, p.precision, steps(count, p) >= WORTH_COMPILING)

    for epoch in range(1, p.epochs + 1):
        order = torch.stack([torch.randperm(count, generator=g, device=p.device) for g in generators])
        total = torch.zeros(len(models), device=p.device)
        for chosen in order.split(p.batch_size, dim=1):
            images = digits.train_images.index_select(0, chosen.flatten()).view(*chosen.shape, -1)
            labels = digits.train_labels.index_select(0, chosen.flatten()).view(chosen.shape)
            lam = _lambdas(models, generators, p)
            noise = layer_noise([g for g in generators for _ in lam[0]], widths, chosen.shape[1])
            gradients, losses = gradient(params, Batch(images, labels, lam, noise))
            for name, tensor in params.items():
                tensor.grad = gradients[name]
            optimizer.step()
            total += losses * (chosen.shape[1] / count)
        _check(total, epoch, models)
        on_epoch(float(total.mean()))
    return params


def loss(
    method: Method, params: Params, batch: Batch, count: int, prior_std: float, precision: str = "float32"
) -> Tensor:
    """Minus the generalised evidence for a digit, by a minibatch: eq. (4), and its mean over the lambdas, eq. (7).

    Args: count, digits to train on; precision, what the inputs of matrix products are rounded to.
    Returns: nats a digit, shape [S].
    """
    images, labels, lam, noise = batch
    x, q = scale(images), method.posterior(params, lam)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = sampled_logits(q, x, noise, method.mean_pass(params, lam, x))
    # the likelihood is a mean over the batch, so the KL is divided by the count to keep eq. (4)'s balance
    fits = log_likelihood(logits.float(), labels.repeat_interleave(lam.shape[1], 0)) / labels.shape[1]
    return -evidence(fits, kl(q, prior_std) / count, lam.flatten()).view_as(lam).mean(1)


Gradient = Callable[[Params, Batch], tuple[Params, Tensor]]


@lru_cache(maxsize=1)  # models in turn share what is compiled; another kind of training starts afresh
def _gradient(method: Method, count: int, prior_std: float, clip: float, precision: str, compiled: bool) -> Gradient:
    """The function from a minibatch to the clipped gradient and the losses [S] of the models."""

    def summed(params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
        losses = loss(method, params, batch, count, prior_std, precision)
        return losses.sum(), losses  # the models share no parameter: the sum's gradient is each one's own

    def clipped(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        gradients, losses = torch.func.grad(summed, has_aux=True)(params, batch)
        return {n: t.clamp(-clip, clip) if clip else t for n, t in gradients.items()}, losses

    return compile_if_possible(clipped) if compiled else clipped


def set_products(kernels: str | None = None) -> str:
    """Choose the kernels for matrix products of float32 on a processor.

    On some processors torch's own choice reaches half of what a core can do. The setting that leads to others allows
    rounding to bfloat16, which some really do: they are taken only if a trial is right to float32 accuracy, and
    clearly faster, so that two trials don't disagree.

    Args: kernels, "none" for torch's own or "bf16" for the others; by default the trial decides.
    Returns: what was chosen.
    """
    kernels = kernels or ("bf16" if _other_products_are_better() else "none")
    torch.backends.mkldnn.matmul.fp32_precision = kernels  # type: ignore[attr-defined]
    return kernels


@cache
def _other_products_are_better() -> bool:
    draw = Generator().manual_seed(0)
    x, weight = torch.randn(128, 784, generator=draw), torch.randn(784, 100, generator=draw)
    exact, errors, seconds = x.double() @ weight.double(), {}, {"none": math.inf, "bf16": math.inf}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(50):  # in turn, and the quickest of many: other work on the machine slows both
        for kernels in seconds:
            set_products(kernels)
            seconds[kernels] = min(seconds[kernels], timeit.timeit(lambda: x @ weight, number=1))
            errors[kernels] = float((x @ weight - exact).abs().max())
    torch.set_num_threads(threads)
    right, faster = errors["bf16"] < 10 * errors["none"], seconds["none"] > 1.3 * seconds["bf16"]
    if faster and not right:
        print("matrix products by torch's own kernels: the faster ones round to bfloat16 here", file=sys.stderr)
    return faster and right


def compile_if_possible(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled for each shape of its arguments; on a machine that can't, as it is, and says so once."""
    torch.compiler.reset()  # it keeps a few compilations of one piece of code, and refuses more
    way = torch.compile(function, fullgraph=True, dynamic=False)

    def call(*args: Any) -> Any:
        nonlocal way
        try:
            return way(*args)
        except RuntimeError as error:
            if way is function:
                raise
            way = function
            result = way(*args)  # a fault of the function's own is raised here, as it is
            reason = str(error).strip().splitlines()[0]
            print(f"training uncompiled, at about half the speed: torch.compile failed ({reason})", file=sys.stderr)
            return result

    return call


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
