"""One training step, ours against the peers: one table, one run, one core."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import pandas as pd
from ours import OURS
from peers import BATCH, BATCHES, PEERS, flops
from tqdm import tqdm

from ccbook import ROOT, chapters, parameters
from ccbook.book import formats
from ccbook.machine import download
from ccbook.records.provenance import provenance
from complexity_control import training

HERE = Path(__file__).parent
# one thread each: a step is too small to be shared, and a training has a core for each model
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "PYTHONWARNINGS": "ignore",
}
PASSES = 4  # over the batches, in a repeat
# what compares: with which of ours, and under which title
KINDS = {
    "step": ("ours", "A step"),
    "linear": ("ours-linear", "A step of a linear hypernetwork"),
    "whole": ("ours-whole", "A step, end to end"),
    "c": ("ours-c", "A step of (c), five lambdas"),
    "e": ("ours-e", "A step of (e), five lambdas"),
}


class Failed(RuntimeError):  # noqa: N818 (it is an answer, no fault of this program)
    """A competitor that isn't there or has stopped; the message is the end of what it said."""


class Competitor:
    """A process that is alive during the whole run and trains when asked, so that all can take turns."""

    def __init__(self, name: str, digits: Path, folder: Path) -> None:
        self.name = name
        ours = name in OURS or name == "peak"
        python = sys.executable
        if not ours and PEERS[name].environment != ".venv":
            python = str(ROOT / PEERS[name].environment / "bin" / "python")
        if not Path(python).exists():
            raise Failed("not installed; `make bench` does it")
        script = [str(HERE / "ours.py"), name] if ours else [str(HERE / "peers.py"), name, str(digits)]
        cache = str(folder / f"{name}-cache")
        environment = os.environ | ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": cache, "NUMBA_CACHE_DIR": cache}
        self.errors = (folder / f"{name}.txt").open("w+")
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [python, *script],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def hear(self) -> dict[str, Any]:
        """What the process says next; it may take its time.

        Raises: Failed.
        """
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            self.errors.seek(0)
            raise Failed((self.errors.read().strip().splitlines() or ["it ended without a word"])[-1])
        return json.loads(answer)

    def ask(self, passes: int) -> dict[str, Any]:
        """The next repeat: so many passes over the batches."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `hear` tells why
            print(passes, file=self.process.stdin, flush=True)
        return self.hear()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            assert stream is not None
            stream.close()


def race(names: Sequence[str], repeats: int, passes: int) -> tuple[dict, dict, dict]:
    """What each said of itself at the start, its repeats, and the reason of each that failed."""
    hello: dict[str, dict] = {}
    heard: dict[str, list[dict]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    alive: dict[str, Competitor] = {}
    with tempfile.TemporaryDirectory() as temporary:
        digits = download.load("MNIST")
        file = Path(temporary) / "digits.npz"
        np.savez(file, images=digits.train_images.numpy(), labels=digits.train_labels.numpy())
        turns = [(None, name) for name in names] + [(turn, name) for turn in range(repeats) for name in names]
        bar = tqdm(turns, unit="turn", bar_format="{l_bar}{bar}| {elapsed}, left {remaining} {postfix}", disable=None)
        try:
            for turn, name in bar:
                bar.set_postfix_str(f"{'starting ' * (turn is None)}{name}")
                try:
                    if turn is None:
                        competitor = Competitor(name, file, Path(temporary))
                        alive[name] = competitor
                        hello[name] = competitor.hear()
                        hello[name]["startup"] = time.perf_counter() - competitor.began
                    elif name not in failed:
                        heard[name].append(alive[name].ask(1 if kind(name) == "whole" else passes))
                except Failed as error:
                    failed[name] = str(error)
        finally:
            for competitor in alive.values():
                competitor.end()
    return hello, heard, failed


def table(hello: dict, heard: dict, failed: dict) -> tuple[pd.DataFrame, float]:
    """A row for each competitor that came through, and the core's peak in GFLOP/s."""
    peak = median(answer["gflops"] for answer in heard["peak"])
    rows = []
    for name in [n for n in heard if n not in failed and n != "peak"]:
        this = OURS.get(name) or PEERS[name]
        ms = pd.Series([1e3 * answer["seconds"] / answer["steps"] for answer in heard[name]])
        # with five lambdas a product is of other sizes, and isn't counted
        counts = hello[name]["counts"] if kind(name) not in ("c", "e") else [np.nan] * 2
        rows.append(
            {
                "name": name,
                "label": this.label,
                "version": hello[name]["version"],
                "kind": kind(name),
                "ms": ms.median(),
                "ms_min": ms.min(),
                "ms_max": ms.max(),
                "ratio": np.nan,
                "matmuls_layer_1": counts[0],
                "mflop": flops(counts) / 1e6,
                "peak_share": flops(counts) / ms.median() / 1e6 / peak,
                "estimator": this.estimator,
                "startup_seconds": hello[name]["startup"],
            }
        )
    frame = pd.DataFrame(rows)
    for which, (reference, _) in KINDS.items():
        ours = frame.loc[frame["name"] == reference, "ms"]
        if len(ours):
            frame.loc[frame["kind"] == which, "ratio"] = frame["ms"] / ours.item()
    return frame, peak


def kind(name: str) -> str:
    """What a competitor's steps compare with."""
    if name == "peak":
        return name
    if name in OURS:
        return OURS[name].kind
    return "whole" if PEERS[name].loader else "linear" if PEERS[name].linear else "step"


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([*OURS, *PEERS]), help="Time only this one; may be repeated.")
@click.option("--repeats", default=9, show_default=True, help="Repeats of each, taken in turn; the median counts.")
@click.option("--quick", is_flag=True, help="Two short repeats, for a look.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=formats.folder("paper"),
    help="Folder of bench.csv and bench.json.  [default: book/results]",
)
def main(only: tuple[str, ...], repeats: int, quick: bool, out: Path) -> None:
    if (only or quick) and out == formats.folder("paper"):
        raise click.UsageError("a part of the table, or a look, is not for the book: give --out FOLDER")
    repeats, passes = (2, 1) if quick else (repeats, PASSES)
    names = ["peak", *(only or [*OURS, *PEERS])]
    hello, heard, failed = race(names, repeats, passes)
    for name, reason in failed.items():
        click.echo(f"{name} is left out: {reason}", err=True)
    if "peak" in failed or len(failed) == len(names) - 1:
        raise click.ClickException("nothing to compare")
    frame, peak = table(hello, heard, failed)
    p = parameters.check("a_direct", chapters.defaults("a_direct"))
    about = {
        **provenance("cpu"),
        "cores": os.cpu_count(),
        "threads": 1,
        "repeats": repeats,
        "steps_a_repeat": BATCHES * passes,
        "batch": BATCH,
        "gflops": round(peak, 1),
        "product_kernels": {name: said["kernels"] for name, said in hello.items() if "kernels" in said},
        # of method (a): steps of one model x lambdas x seeds
        "steps_of_a": training.steps(60_000, p.settings) * len(p.lambdas) * len(p.seeds),
        "left_out": failed,
    }
    formats.write_csv(frame, out / "bench.csv")
    (out / "bench.json").write_text(json.dumps(about, indent=2) + "\n")
    shown = frame.drop(columns=["name"]).rename(columns={"matmuls_layer_1": "matmuls"})
    for which, rows in shown.groupby("kind", sort=False):
        click.echo(f"\n{KINDS[which][1]}, ms; one thread, median of {repeats} repeats in turn")
        click.echo(rows.drop(columns="kind").to_string(index=False, float_format="%.2f"))
    click.echo(f"\nfloat32 peak of a core: {peak:.0f} GFLOP/s ({about['processor']})")


if __name__ == "__main__":
    main()
