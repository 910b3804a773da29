"""The fastest exact way to train on this machine: kernels for matrix products, and steps made for the case."""

import importlib
import math
import multiprocessing
import sys
import timeit
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from complexity_control import training
from complexity_control.digits import Digits
from complexity_control.method import Method
from complexity_control.posterior import Params, Posterior, from_flat, to_flat
from complexity_control.training import Batch, Gradient, Settings, Step

Way = Literal["sparse", "compiled", "plain"]
Stepper = Callable[[Params], Step]
# steps of one model; fewer are taken sooner than compiled, or than numba is loaded
WORTH_COMPILING = 2_000
WORTH_LOADING = 100
DENSE = 0.5  # share of nonzero pixels from which on matrix products take less time
NARROWEST = 16  # hidden units that machine.sparse takes at once


@cache  # for one processor there is one answer
def best_products() -> str:
    """The better kernels for matrix products of float32 on this processor: torch's own ("none"), or others ("bf16").

    On some processors torch's own choice reaches half of what a core can do. The setting that leads to others allows
    rounding to bfloat16, which some really do: they are taken only if a trial is right to float32 accuracy, and
    clearly faster, so that two trials don't disagree. The trial leaves its last setting behind: `set_products` chooses.
    """
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
    return "bf16" if faster and right else "none"


def set_products(kernels: str) -> None:
    """Use these kernels from now on, in this process."""
    torch.backends.mkldnn.matmul.fp32_precision = kernels  # type: ignore[attr-defined]


def way(digits: Digits, settings: Settings) -> Way:
    """How a step is made: it depends on digits and settings alone, as a model's bits do.

    sparse: machine.sparse, where numba can compile it. Else training.gradient_of, compiled where that saves time.
    """
    steps = training.steps(len(digits.train_labels), settings)
    # numba is loaded last: other trainings needn't wait for it
    if steps >= WORTH_LOADING and is_sparse(digits, settings) and _sparse():
        return "sparse"
    return "compiled" if steps >= WORTH_COMPILING else "plain"


def is_sparse(digits: Digits, settings: Settings) -> bool:
    """Whether machine.sparse is right for these, and faster than matrix products."""
    images, (width, *deeper) = digits.train_images, settings.hidden
    usual = settings.precision == "float32" and width >= NARROWEST and not deeper
    bytes_ = images.dtype == torch.uint8 and images.device.type == "cpu"
    return usual and bytes_ and bool(images.count_nonzero() < DENSE * images.numel())


def stepper(method: Method, digits: Digits, settings: Settings, chosen: Way | None = None) -> Stepper:
    """What training.fit takes to make its steps in the way for these, or in a chosen one."""
    chosen, count = chosen or way(digits, settings), len(digits.train_labels)
    by_numba = _sparse() if chosen == "sparse" and settings.optimizer == "adam" else None
    if by_numba and is_direct(method):
        return partial(by_numba.by_adam, count, settings)
    along = by_numba.adam_along if by_numba else training.along
    return partial(along, gradient(method, digits, settings, chosen), count, settings)


def gradient(method: Method, digits: Digits, settings: Settings, chosen: Way | None = None) -> Gradient:
    """training.gradient_of, computed in the way for these, or in a chosen one."""
    chosen, count = chosen or way(digits, settings), len(digits.train_labels)
    if chosen == "sparse" and (sparse := _sparse()):
        if is_direct(method):
            return sparse.gradient(count, settings)
        return _through(method, sparse.gradient(count, replace(settings, clip=0)), count, settings)
    plain = training.gradient_of(method, count, settings)
    return compile_if_possible(plain)[0] if chosen == "compiled" else plain


def is_direct(method: Method) -> bool:
    """Whether its parameters are the posterior's own."""
    start = method.init([Generator()], [1, 1], 0.0)
    return all(t is start.get(n) for n, t in to_flat(method.posterior(start, torch.ones(1, 1))).items())


def _through(method: Method, by_posterior: Gradient, count: int, settings: Settings) -> Gradient:
    """A hypernetwork's gradient: by its map from parameters to posteriors, and by the transpose of the derivative."""

    def transpose(params: Params, lam: Tensor, by_mean: Params, by_log_std: Params) -> Params:
        back = torch.func.vjp(lambda p: method.posterior(p, lam), params)[1]
        gradients, clip = back(Posterior(by_mean, by_log_std))[0], settings.clip
        return {n: t.clamp(-clip, clip) if clip else t for n, t in gradients.items()}

    forward: Callable[..., Posterior] = method.posterior
    backward: Callable[..., Params] = transpose
    if training.steps(count, settings) >= WORTH_COMPILING:
        forward, backward = compile_if_possible(forward, backward)

    def gradient(params: Params, batch: Batch) -> tuple[Params, Tensor]:
        gradients, losses = by_posterior(to_flat(forward(params, batch.lam)), batch)
        return backward(params, batch.lam, *from_flat(gradients)), losses.view_as(batch.lam).sum(1)

    return gradient


@cache
def _sparse() -> ModuleType | None:
    """The module, which is compiled when it is first imported."""
    try:
        return importlib.import_module("ccbook.machine.steps")
    except Exception as error:  # numba may be missing, find no place for its cache, or fail in its own ways
        if multiprocessing.parent_process() is None:  # its workers needn't say it too
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            print(f"training by torch alone, which takes longer: numba failed ({reason})", file=sys.stderr)
        return None


def compile_if_possible(*functions: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """The functions compiled for each shape of their arguments; on a machine that can't, as they are, said once."""
    torch.compiler.reset()  # it keeps a few compilations of one piece of code, and refuses more
    ways = [torch.compile(function, fullgraph=True, dynamic=False) for function in functions]

    def call(k: int, *args: Any) -> Any:
        try:
            return ways[k](*args)
        except RuntimeError as error:
            if ways[k] is functions[k]:
                raise
            ways[:] = functions
            result = ways[k](*args)  # a fault of the function's own is raised here, as it is
            reason = " ".join(str(error).strip().splitlines()[:2])  # the first may only say who raised it
            print(f"training uncompiled, which takes longer: torch.compile failed ({reason})", file=sys.stderr)
            return result

    return tuple(partial(call, k) for k in range(len(functions)))
