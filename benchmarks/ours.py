"""Ours, and the machine's own limit, as processes that speed.py asks for one repeat after the other."""

import argparse
import sys
import time
from typing import NamedTuple

import torch
from peers import BATCH, BATCHES, LAM, LOCAL, Line, of_layers, torch_matmuls

from ccbook import chapters, parameters, perform
from ccbook.machine import download, kernels
from complexity_control import training


class Mode(NamedTuple):
    """One way to train ours."""

    label: str
    changes: dict = {}  # noqa: RUF012 (never written to)
    chapter: str = "a_direct"
    whole: bool = False  # end to end: all digits
    way: kernels.Way | None = None  # None: as a run of these settings
    noise: bool = False  # uniform, in the place of images
    estimator: str = LOCAL


OURS = {
    "ours": Mode("ours: nonzero pixels"),
    "ours-compiled": Mode("ours, compiled by torch", way="compiled"),
    "ours-uncompiled": Mode("ours, by torch as it is", way="plain"),
    "ours-noise": Mode("ours, on uniform noise", noise=True),
    "ours-bfloat16": Mode("ours, bfloat16", {"precision": "bfloat16"}),
    "ours-linear": Mode("ours, linear hypernetwork", {"samples": 1}, "e_linear"),
    "ours-whole": Mode("ours: nonzero pixels", whole=True),
}
WARM_UP = 2  # passes over the batches, not timed; the first compiles
ENDLESS = 1_000_000  # epochs: the process lives until speed.py is done with it
SIDE = 2048  # of the matrices that the peak is measured with
KERNELS = ("none", "bf16")  # what torch may use to multiply float32 matrices; none is its default


def serve(mode: Mode) -> None:
    """Train without an end; each repeat is some epochs, and between two of them the training waits to be asked."""
    line = Line()
    torch.set_num_threads(1)
    chosen = kernels.best_products()
    kernels.set_products(chosen)  # as every run does before it trains
    values = chapters.defaults(mode.chapter) | mode.changes | {"lambdas": [LAM], "seeds": [0]}
    p = parameters.check(mode.chapter, values | {"epochs": ENDLESS})
    digits = download.load(p.dataset, train=None if mode.whole else BATCH * BATCHES)
    if mode.noise:
        noise = torch.randint(256, digits.train_images.shape, generator=torch.Generator().manual_seed(0))
        digits = digits._replace(train_images=noise.byte())
    models = [training.Model(None if mode.chapter == "e_linear" else LAM, 0)]
    method = perform.method_of(p)
    steps = training.steps(len(digits.train_labels), p.settings) // p.epochs

    # by torch as it is, which shows its products: the nonzero pixels' are counted as the ones that they replace
    one, few = p.model_copy(update={"epochs": 1}), download.load(p.dataset, train=BATCH)
    found = torch_matmuls(lambda: training.fit(method, models, few, one.settings))
    epochs, passes, begin = 0, WARM_UP, 0.0

    def on_epoch(*_: object) -> None:
        nonlocal epochs, passes, begin
        epochs += 1
        if epochs < passes:
            return
        start = {"version": torch.__version__, "counts": of_layers(found), "kernels": chosen}
        what = {"seconds": time.perf_counter() - begin, "steps": steps * passes}
        passes = line.tell(**what if begin else start)
        epochs, begin = 0, time.perf_counter()

    gradient = kernels.gradient(method, digits, p.settings, mode.way)
    training.fit(method, models, digits, p.settings, on_epoch=on_epoch, gradient=gradient)


def serve_peak() -> None:
    """Billions of float32 operations a second in a big matrix product, by each kind of kernels that is exact."""
    line = Line()
    torch.set_num_threads(1)
    a, b = (torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    exact = a[:64].double() @ b.double()
    line.tell(version=torch.__version__)
    while True:
        speeds = {}
        for choice in KERNELS:
            torch.backends.mkldnn.matmul.fp32_precision = choice
            begin = time.perf_counter()
            product = a @ b
            seconds = time.perf_counter() - begin
            # on some processors these kernels round their inputs to bfloat16: that is no float32 peak
            if (product[:64] - exact).abs().max() < 1e-5 * exact.abs().max():
                speeds[choice] = 2 * SIDE**3 / seconds / 1e9
        line.tell(gflops=speeds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train ours, a repeat for each line of standard input.")
    parser.add_argument("name", choices=[*OURS, "peak"])
    name = parser.parse_args().name
    sys.exit(serve_peak() if name == "peak" else serve(OURS[name]))
