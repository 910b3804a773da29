"""The recorded benchmark: what a training step costs, beside other libraries, and how cost grows."""

import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from complexity_control import results

MISSING = Markdown("**Not recorded here.** `make bench` times all of this page, and records it in `book/results`.")
COLUMNS = {
    "label": "",
    "version": "version",
    "ms": "ms a step",
    "range": "min–max",
    "ratio": "times ours",
    "peak_share": "share of peak",
    "matmuls_layer_1": "layer 1 products",
    "estimator": "estimator",
}
WHOLE = {
    "label": "",
    "version": "version",
    "ms": "ms a step",
    "range": "min–max",
    "ratio": "times ours",
    "startup_seconds": "start, s",
    "minutes": "all of (a), minutes",
}
RANGES = ("min–max", "ms a model-step", "peak memory, MB")  # columns that stay in a line

NOTHING = pd.DataFrame({"not recorded": ["`make bench` does it"]})
NOT_YET = "not recorded in this copy of the book, make bench does it."


class Recorded(NamedTuple):
    """What `make bench` has measured; empty where it hasn't."""

    bench: pd.DataFrame  # name, label, version, kind, ms, ms_min, ms_max, ratio, ..., a row for each competitor
    about: dict[str, Any]  # processor, cores, threads, versions, gflops, ...
    growth: pd.DataFrame  # axis, label, value, ms, memory_before_mb, memory_mb
    precision: pd.DataFrame  # table, quantity, method, lam; mean, low, high, verdict, each _float32 and _bfloat16

    def __bool__(self) -> bool:
        return len(self.bench) > 0


def recorded() -> Recorded:
    """The files in book/results: whatever the profile, because a look doesn't time."""
    folder = results.folder("paper")
    about = folder / "bench.json"
    files = [folder / name for name in ("bench.csv", "scaling.csv", "precision.csv")]
    if not all(file.is_file() for file in [about, *files]):
        return Recorded(pd.DataFrame(), {}, pd.DataFrame(), pd.DataFrame())
    bench, growth, precision = map(pd.read_csv, files)
    return Recorded(bench, json.loads(about.read_text()), growth, precision)


def exponent(points: pd.DataFrame, quantity: str) -> float:
    """The slope of a line through logarithms: cost ~ value to this power, over all points."""
    return float(np.polyfit(np.log(points["value"]), np.log(points[quantity]), 1)[0])


def machine(record: Recorded) -> Markdown:
    """Where, how and with which versions was measured."""
    if not record:
        return MISSING
    about = record.about
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    speeds = " and ".join(f"{speed:.0f}" for speed in about["gflops"].values())
    left_out = "".join(f" Left out: {name} (`{reason}`)." for name, reason in about["left_out"].items())
    return Markdown(
        f"Measured on {about['processor']}, {about['cores']} cores, {about['threads']} thread for each; "
        f"{versions}. Each is a process of its own that stays alive while the others take their turns, "
        f"{about['repeats']} repeats of {about['steps_a_repeat']} steps each; given is the median. In the same turns a "
        f"large float32 matrix product ran at {speeds} GFLOP/s of a core, by torch's default kernels and by those that "
        f'`fp32_precision = "bf16"` chooses: the larger is the peak.{left_out}'
    )


def verdict(record: Recorded) -> Markdown:
    """How ours stands among the others, in a sentence or two."""
    if not record:
        return Markdown("")
    rows = record.bench.set_index("name")
    if not {"ours", "plain"} <= set(rows.index):
        return Markdown("")
    ours, plain = rows.loc["ours"], rows.loc["plain"]
    peers = rows[(rows["kind"] == "step") & ~rows.index.str.startswith("ours")]
    best = peers.loc[peers["ms"].idxmin()]
    return Markdown(
        f"A step of ours takes {ours['ms']:.2f} ms, {ours['peak_share']:.0%} of the peak's speed. "
        f"Autograd with fused Adam takes {plain['ms'] / ours['ms']:.1f} times as long, the fastest of the others, "
        f"{best['label']} {best['version']}, {best['ms'] / ours['ms']:.2f} times."
    )


def table(record: Recorded, kind: str) -> Styler:
    """The competitors of a kind, fastest first.

    Args: kind, step, linear (a linear hypernetwork's step) or whole (end to end).
    """
    if not record:
        return _shown(NOTHING, {})
    rows = record.bench[record.bench["kind"] == kind].sort_values("ms")
    spread = [f"{low:.2f}–{high:.2f}" for low, high in zip(rows["ms_min"], rows["ms_max"], strict=True)]
    versions = rows["version"].str.split("+").str[0]
    seconds = rows["startup_seconds"] + rows["ms"] / 1e3 * record.about["steps_of_a"]
    estimator = rows["estimator"].str.split().str[0]  # one word: the table is wide enough
    rows = rows.assign(range=spread, version=versions, minutes=seconds / 60, estimator=estimator)
    names = WHOLE if kind == "whole" else COLUMNS
    formats = {"ms a step": "{:.2f}", "times ours": "{:.2f}", "share of peak": "{:.0%}", "start, s": "{:.0f}"}
    return _shown(rows[list(names)].rename(columns=names), formats | {"all of (a), minutes": "{:.1f}"})


def bfloat16(record: Recorded) -> Markdown:
    """What products of bfloat16 buy, and what they change in the tables."""
    if not record:
        return Markdown("")
    ms, cells = record.bench.set_index("name")["ms"], record.precision
    same = cells["verdict_float32"] == cells["verdict_bfloat16"]
    # where there is no spread, as in a number of updates, only the same number is inside
    low, high = (cells[f"{end}_float32"].fillna(cells["mean_float32"]) for end in ("low", "high"))
    inside = cells["mean_bfloat16"].between(low, high)
    changed = "; ".join(
        f"Table {c.table}, {c.quantity} of ({c.method}) at λ = {c.lam:g}: "
        f"{c.verdict_float32}, then {c.verdict_bfloat16}"
        for c in cells[~same].itertuples()
    )
    return Markdown(
        f"A step takes {ms['ours-bfloat16']:.2f} ms by `precision: bfloat16`, {ms['ours']:.2f} by `float32`. Of the "
        f"{len(cells)} verdicts on Tables 1–3, {same.sum()} are the same{f' ({changed})' if changed else ''}, and "
        f"{inside.sum()} means lie in the 95% interval of float32's."
    )


def alt_of_steps(record: Recorded) -> str:
    """What the picture of the steps shows, in words."""
    if not record:
        return f"Milliseconds of a step of the 784-100-10 network, ours and the others'; {NOT_YET}"
    rows = record.bench[record.bench["kind"] == "step"].sort_values("ms")
    return "Milliseconds of a training step: " + "; ".join(f"{r.label} {r.ms:.2f}" for r in rows.itertuples()) + "."


def alt_of_growth(record: Recorded) -> str:
    """What the picture of growing cost shows, in words."""
    if not record:
        return f"Time of a step and peak memory against 1 to 200 models, width, digits and lambdas; {NOT_YET}"
    powers = {label: exponent(points, "ms") for label, points in record.growth.groupby("label", sort=False)}
    return "Cost against size; exponents of time: " + "; ".join(f"{n} {p:.2f}" for n, p in powers.items()) + "."


def exponents(record: Recorded) -> Styler:
    """For each quantity that grows: range, price of a step at both ends, and the fitted exponents."""
    if not record:
        return _shown(NOTHING, {})
    rows = []
    for label, points in record.growth.groupby("label", sort=False):
        low, high = points.loc[points["value"].idxmin()], points.loc[points["value"].idxmax()]
        rows.append(
            {
                "what grows": label,
                "from": low["value"],
                "to": high["value"],
                "ms a model-step": f"{low['ms']:.2f} → {high['ms']:.2f}",
                "exponent": exponent(points, "ms"),
                "peak memory, MB": f"{low['memory_mb']:.0f} → {high['memory_mb']:.0f}",
                "exponent of memory": exponent(points, "memory_mb"),
            }
        )
    formats = {"from": "{:,}", "to": "{:,}", "exponent": "{:.2f}", "exponent of memory": "{:.2f}"}
    return _shown(pd.DataFrame(rows), formats)


def baseline(record: Recorded) -> Markdown:
    """What memory begins with."""
    if not record:
        return Markdown("")
    before, after = record.growth["memory_before_mb"].median(), record.growth["memory_mb"].max()
    return Markdown(
        f"Python and torch hold {before:.0f} MB before any digit is loaded, a good part of each peak, which is why "
        f"memory's exponents are small; the largest peak of all points is {after:.0f} MB."
    )


def _shown(rows: pd.DataFrame, formats: dict[str, str]) -> Styler:
    styler = rows.style.format({name: form for name, form in formats.items() if name in rows.columns})
    ranges = [name for name in RANGES if name in rows.columns]
    styler = styler.set_properties(**{"padding-right": "0.8em"}).set_properties(ranges, **{"white-space": "nowrap"})
    names = list(rows.columns[:1])
    return styler.set_properties(names, **{"min-width": "11em", "text-align": "left"}).hide(axis="index")
