"""Ours, and the core's own limit, as processes that speed.py asks for one repeat after the other."""

import argparse
import sys
import time
from typing import NamedTuple

import peak
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
    kind: str = "step"  # what compares with it; whole: end to end, with all digits
    way: kernels.Way | None = None  # None: as a run of these settings
    noise: bool = False  # uniform, in the place of images
    estimator: str = LOCAL


FIVE: dict = {"samples": 5}  # lambdas for each minibatch, as in the chapter of (e)
OURS = {
    "ours": Mode("ours: nonzero pixels"),
    "ours-compiled": Mode("ours, compiled by torch", way="compiled"),
    "ours-uncompiled": Mode("ours, by torch as it is", way="plain"),
    "ours-noise": Mode("ours, on uniform noise", noise=True),
    "ours-bfloat16": Mode("ours, bfloat16", {"precision": "bfloat16"}),
    "ours-linear": Mode("ours, linear hypernetwork", {"samples": 1}, "e_linear", "linear"),
    "ours-whole": Mode("ours: nonzero pixels", kind="whole"),
    "ours-c": Mode("(c): nonzero pixels", FIVE, "c_low_rank", "c"),
    "ours-c-compiled": Mode("(c), compiled by torch", FIVE, "c_low_rank", "c", "compiled"),
    "ours-e": Mode("(e): nonzero pixels", FIVE, "e_linear", "e"),
    "ours-e-compiled": Mode("(e), compiled by torch", FIVE, "e_linear", "e", "compiled"),
}
WARM_UP = 2  # passes over the batches, not timed; the first compiles
ENDLESS = 1_000_000  # epochs: the process lives until speed.py is done with it


def serve(mode: Mode) -> None:
    """Train without an end; each repeat is some epochs, and between two of them the training waits to be asked."""
    line = Line()
    torch.set_num_threads(1)
    chosen = kernels.best_products()
    kernels.set_products(chosen)  # as every run does before it trains
    values = chapters.defaults(mode.chapter) | mode.changes | {"lambdas": [LAM], "seeds": [0]}
    p = parameters.check(mode.chapter, values | {"epochs": ENDLESS})
    digits = download.load(p.dataset, train=None if mode.kind == "whole" else BATCH * BATCHES)
    if mode.noise:
        noise = torch.randint(256, digits.train_images.shape, generator=torch.Generator().manual_seed(0))
        digits = digits._replace(train_images=noise.byte())
    models = [training.Model(LAM if mode.chapter == "a_direct" else None, 0)]
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

    stepper = kernels.stepper(method, digits, p.settings, mode.way)
    training.fit(method, models, digits, p.settings, on_epoch=on_epoch, stepper=stepper)


def serve_peak() -> None:
    """The core's peak, in the same turns."""
    line = Line()
    line.tell(version="")
    while True:
        line.tell(gflops=peak.gflops())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train ours, a repeat for each line of standard input.")
    parser.add_argument("name", choices=[*OURS, "peak"])
    name = parser.parse_args().name
    sys.exit(serve_peak() if name == "peak" else serve(OURS[name]))
