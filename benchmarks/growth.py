"""How a training's cost grows: time of a model-step and peak memory, against what one would like more of."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ccbook import chapters, parameters, perform
from ccbook.book import formats
from ccbook.machine import download, kernels
from complexity_control import training

ENDLESS = 1_000_000  # epochs: a training is stopped when enough of it was timed
ENOUGH = 1.0  # seconds
FEW = 2_560  # digits, 20 batches: epochs short enough to be stopped between


class Axis(NamedTuple):
    """One quantity that grows, all else as in the chapter."""

    label: str
    chapter: str
    levels: tuple[int, ...]


AXES = {
    "models": Axis("models of (a), one after the other", "a_direct", (1, 5, 20, 60, 200)),
    "width": Axis("hidden width, (a)", "a_direct", (50, 100, 200, 500, 1000, 2000, 4000)),
    "digits": Axis("training digits, (a)", "a_direct", (1_000, 4_000, 15_000, 60_000)),
    "samples_c": Axis("sampled lambdas, (c)", "c_low_rank", (1, 2, 5, 10, 20)),
    "samples_e": Axis("sampled lambdas, (e)", "e_linear", (1, 2, 5, 10, 20)),
}


class EnoughError(Exception):
    """Ends a training of which enough was timed."""


def measure(axis: str, value: int) -> dict[str, float]:
    """One point: milliseconds of a model-step, and the process' peak memory in MB before and after."""
    torch.set_num_threads(1)
    before = peak_memory()
    ms = whole_runs(value) if axis == "models" else step(axis, value)
    return {"ms": ms, "memory_before_mb": before, "memory_mb": peak_memory()}


def whole_runs(models: int) -> float:
    """Of a run as a chapter makes it, evaluation and record included, with as many lambdas as models."""
    lambdas = np.geomspace(0.1, 100, models).tolist()
    values = chapters.defaults("a_direct") | {"profile": "quick", "lambdas": lambdas, "force": True}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CCBOOK_RUNS"] = temporary
        perform.perform("a_direct", values | {"lambdas": [1.0]})  # what is loaded once is loaded now
        begin = time.perf_counter()
        run = perform.perform("a_direct", values)
        seconds = time.perf_counter() - begin
        return 1e3 * seconds / models / training.steps(run.receipt["data"]["train"], run.parameters.settings)


def step(axis: str, value: int) -> float:
    """Of a training alone: median over epochs, without the two first, which compile."""
    chapter = AXES[axis].chapter
    change = {"width": {"hidden": [value]}, "digits": {}}.get(axis, {"samples": value})
    values = chapters.defaults(chapter) | {"lambdas": [1.0], "seeds": [0], "epochs": ENDLESS} | change
    p = parameters.check(chapter, values)
    kernels.set_products(kernels.best_products())  # as every run does before it trains
    digits = download.load(p.dataset, train=value if axis == "digits" else FEW)
    models = [training.Model(None if axis.startswith("samples") else 1.0, 0)]
    method, count = perform.method_of(p), len(digits.train_labels)
    stepper = kernels.stepper(method, digits, p.settings)
    ends: list[float] = []

    def on_epoch(*_: object) -> None:
        ends.append(time.perf_counter())
        if len(ends) > 4 and ends[-1] - ends[1] > ENOUGH:
            raise EnoughError

    with contextlib.suppress(EnoughError):
        training.fit(method, models, digits, p.settings, on_epoch=on_epoch, stepper=stepper)
    steps = training.steps(count, p.settings) // p.epochs
    return 1e3 * median(end - begin for begin, end in pairwise(ends[1:])) / steps


def peak_memory() -> float:
    """The most that this process has held, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([*AXES]), help="Measure only this; may be repeated.")
@click.option("--quick", is_flag=True, help="The two smallest values of each, for a look.")
@click.option("--point", type=(click.Choice([*AXES]), int), help="Measure one point in this process, and print it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=formats.folder("paper"),
    help="Folder of scaling.csv.  [default: book/results]",
)
def main(only: tuple[str, ...], quick: bool, point: tuple[str, int] | None, out: Path) -> None:
    if point:
        click.echo(json.dumps(measure(*point)))
        return
    if (only or quick) and out == formats.folder("paper"):
        raise click.UsageError("a part, or a look, is not for the book: give --out FOLDER")
    chosen = {name: AXES[name] for name in only or AXES}
    points = [(name, value) for name, axis in chosen.items() for value in axis.levels[: 2 if quick else None]]
    download.fetch("MNIST")  # now, not in a point's memory
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        bar = tqdm(points, unit="point", bar_format="{l_bar}{bar}| {elapsed}, left {remaining} {postfix}", disable=None)
        for name, value in bar:
            bar.set_postfix_str(f"{name} {value}")
            # a process for each point, because the peak of a process' memory never falls
            command = [sys.executable, __file__, "--point", name, str(value)]
            caches = {"TORCHINDUCTOR_CACHE_DIR": cache, "NUMBA_CACHE_DIR": cache}
            environment = os.environ | {"OMP_NUM_THREADS": "1"} | caches
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                message = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
                raise click.ClickException(f"{name} {value}: {message[-1]}")
            answer = json.loads(done.stdout.splitlines()[-1])
            rows.append({"axis": name, "label": AXES[name].label, "value": value, **answer})
    frame = pd.DataFrame(rows)
    formats.write_csv(frame, out / "scaling.csv")
    click.echo(frame.drop(columns="axis").to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
