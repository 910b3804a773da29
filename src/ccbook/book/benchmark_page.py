"""The recorded benchmark: what a training step costs, beside other libraries, and how cost grows."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib import pyplot as plt

from ccbook.book import artefacts
from ccbook.book.formats import folder, in_words
from ccbook.book.plots import MARKERS, plain_ticks

COMMON = {"label": "", "version": "version", "ms": "ms a step", "range": "min–max", "ratio": "times ours"}
STEP = {"peak_share": "share of peak", "matmuls_layer_1": "layer 1 products", "estimator": "estimator"}
WHOLE = {"startup_seconds": "start, s", "minutes": "all of (a), minutes"}
GROWTH = {"ms": "ms a model-step", "memory_mb": "peak memory, MB"}
FORMATS = {
    "ms a step": "{:.2f}", "times ours": "{:.2f}", "share of peak": "{:.0%}", "start, s": "{:.0f}",
    "all of (a), minutes": "{:.1f}", "layer 1 products": "{:.0f}",
    "from": "{:,}", "to": "{:,}", "exponent": "{:.2f}", "exponent of memory": "{:.2f}",
}  # fmt: skip


class Recorded(NamedTuple):
    """What `make bench` has measured."""

    bench: pd.DataFrame  # name, label, version, kind, ms, ms_min, ms_max, ratio, ..., a row for each competitor
    about: dict[str, Any]  # processor, cores, threads, versions, gflops, ...
    growth: pd.DataFrame  # axis, label, value, ms, memory_before_mb, memory_mb
    precision: pd.DataFrame  # table, quantity, method, lam; mean, low, high, verdict, each _float32 and _bfloat16


def recorded() -> Recorded:
    """The files in book/results: whatever the profile, because a look doesn't time.

    Raises: FileNotFoundError, with the command that makes them.
    """
    home = folder("paper")
    try:
        bench, growth, precision = (pd.read_csv(home / f"{name}.csv") for name in ("bench", "scaling", "precision"))
        return Recorded(bench, json.loads((home / "bench.json").read_text()), growth, precision)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename} isn't there: `make bench` measures and records it") from None


def exponent(points: pd.DataFrame, quantity: str) -> float:
    """The slope of a line through logarithms: cost ~ value to this power, over all points."""
    return float(np.polyfit(np.log(points["value"]), np.log(points[quantity]), 1)[0])


def machine(record: Recorded) -> Markdown:
    """Where, how and with which versions was measured."""
    about = record.about
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    left_out = "".join(f" Left out: {name} (`{reason}`)." for name, reason in about["left_out"].items())
    return Markdown(
        f"Measured on {about['processor']}, {about['cores']} cores, {about['threads']} thread for each; "
        f"{versions}. Each is a process of its own that stays alive while the others take their turns, "
        f"{about['repeats']} repeats of {about['steps_a_repeat']} steps each; the median is shown. In the same turns "
        f"a loop of float32 multiply-adds in registers reached {about['gflops']:.0f} GFLOP/s on a core, which is the "
        f"peak.{left_out}"
    )


def dense_limit(record: Recorded) -> float:
    """Milliseconds that the four matrix products of layer 1 take at the core's peak, and nothing else."""
    return 4 * 2 * record.about["batch"] * 784 * 100 / record.about["gflops"] / 1e6


def steps(record: Recorded) -> artefacts.Artefact:
    """Milliseconds of a training step, a dot for each competitor, on a logarithmic axis."""
    rows = record.bench[record.bench["kind"] == "step"].sort_values("ms")
    who = rows["estimator"].mask(rows["name"].str.startswith("ours"), "ours")
    groups = ["ours", *sorted(set(record.bench["estimator"]))]
    colours = dict(zip(groups, sns.color_palette("colorblind"), strict=False))
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    sns.stripplot(rows, x="ms", y="label", hue=who, hue_order=[g for g in groups if g in set(who)], palette=colours,
                  jitter=False, size=9, ax=ax)  # fmt: skip
    for place, ms in enumerate(rows["ms"]):
        ax.text(ms, place, f"   {ms:.2f}", va="center", fontsize="small")
    limit = dense_limit(record)
    ax.axvline(limit, color="0.5", linestyle="--")
    ax.text(limit, len(rows) - 1, f" dense limit {limit:.2f}", va="center", fontsize="small", color="0.35")
    ax.set(xscale="log", xlim=(limit / 1.3, rows["ms"].max() * 1.5), xlabel="ms a training step", ylabel="")
    plain_ticks(ax.xaxis)
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.5, 1), ncols=3, title=None, frameon=False)
    caption = (
        "Milliseconds of one training step, ours and the others', on a logarithmic axis. The dashed line is the dense "
        "limit: the four matrix products of layer 1 at the core's peak, and nothing else."
    )
    alt = f"Milliseconds of a training step, with the dense limit at {limit:.2f}: {in_words(rows, '{label} {ms:.2f}')}"
    return artefacts.figure("speed-steps", figure, caption, alt, record.bench)


def verdict(record: Recorded) -> Markdown:
    """How ours stands among the others, in a sentence or two."""
    rows = record.bench.set_index("name")
    ours, plain = rows.loc["ours"], rows.loc["plain"]
    peers = rows[(rows["kind"] == "step") & ~rows.index.str.startswith("ours")]
    best = peers.loc[peers["ms"].idxmin()]
    return Markdown(
        f"A step of ours takes {ours['ms']:.2f} ms, {ours['ms'] / dense_limit(record):.1f} times the dense limit. "
        f"Autograd with fused Adam takes {plain['ms'] / ours['ms']:.1f} times as long. The fastest of the others is "
        f"{best['label']} {best['version']}, {best['ms'] / ours['ms']:.2f} times as long. On images of uniform noise, "
        f"where hardly a pixel is 0, ours multiplies whole matrices and takes {rows.loc['ours-noise', 'ms']:.2f} ms."
    )


def table(record: Recorded, kinds: Sequence[str], caption: str) -> artefacts.Artefact:
    """The competitors of some kinds, each fastest first.

    Kinds: step, linear (a linear hypernetwork's step), c and e (steps with five lambdas), whole (end to end).
    """
    rows = record.bench[record.bench["kind"].isin(kinds)].sort_values(["kind", "ms"])
    rows = rows.assign(
        range=rows["ms_min"].map("{:.2f}–".format) + rows["ms_max"].map("{:.2f}".format),
        version=rows["version"].str.split("+").str[0],
        minutes=(rows["startup_seconds"] + rows["ms"] / 1e3 * record.about["steps_of_a"]) / 60,
        estimator=rows["estimator"].str.split().str[0],  # one word: the table is wide enough
    )
    titles = COMMON | (WHOLE if "whole" in kinds else STEP if rows["mflop"].notna().all() else {})
    return _table(f"speed-{'-'.join(kinds)}", rows[list(titles)].rename(columns=titles), caption)


def bfloat16(record: Recorded) -> Markdown:
    """How much faster products of bfloat16 are, and what they change in the tables."""
    ms, cells = record.bench.set_index("name")["ms"], record.precision
    same = cells["verdict_float32"] == cells["verdict_bfloat16"]
    # where there is no spread, as in a number of updates, only the same number is inside
    low, high = (cells[f"{end}_float32"].fillna(cells["mean_float32"]) for end in ("low", "high"))
    inside = cells["mean_bfloat16"].between(low, high)
    words = "Table {table}, {quantity} of ({method}) at λ = {lam:g}: {verdict_float32}, then {verdict_bfloat16}"
    changed = in_words(cells[~same], words).rstrip(".")
    return Markdown(
        f"A step takes {ms['ours-bfloat16']:.2f} ms by `precision: bfloat16`, which multiplies whole matrices, and "
        f"{ms['ours']:.2f} by `float32`, which multiplies nonzero pixels alone; whole matrices of float32 take "
        f"{ms['ours-compiled']:.2f}. Of the "
        f"{len(cells)} verdicts on Tables 1–3, {same.sum()} are the same{f' ({changed})' if changed else ''}, and "
        f"{inside.sum()} means lie in the 95% interval of float32's."
    )


def growth(record: Recorded) -> artefacts.Artefact:
    """Cost against what grows: points, and the fitted power; time above, memory below."""
    columns = {"models": ["models"], "hidden width": ["width"], "training digits": ["digits"],
               "sampled λ": ["samples_c", "samples_e"]}  # fmt: skip
    figure, axes = plt.subplots(2, len(columns), figsize=(10, 5), layout="constrained", sharex="col", sharey="row")
    colours = sns.color_palette("colorblind")
    for (name, series), column in zip(columns.items(), axes.T, strict=True):
        for quantity, ax in zip(GROWTH, column, strict=True):
            for k, which in enumerate(series):
                points = record.growth[record.growth["axis"] == which]
                power, middle = exponent(points, quantity), np.exp(np.log(points[["value", quantity]]).mean())
                line = middle[quantity] * (points["value"] / middle["value"]) ** power
                label = f"({which[-1]}) " if len(series) > 1 else ""
                ax.plot(points["value"], points[quantity], linestyle="none", color=colours[k], marker=MARKERS[k])
                ax.plot(points["value"], line, color=colours[k], label=f"{label}exponent {power:.2f}")
            ax.set(xscale="log", yscale="log")
            ax.legend(fontsize="small")
            plain_ticks(ax.yaxis)
        column[1].set_xlabel(name)
    for title, ax in zip(GROWTH.values(), axes[:, 0], strict=True):
        ax.set_ylabel(title)
    caption = "Time of a model-step and peak memory against what grows, with the fitted powers."
    alt = f"Cost against size; exponents of time: {in_words(_fitted(record), '{what grows} {exponent:.2f}')}"
    return artefacts.figure("speed-growth", figure, caption, alt, record.growth)


def baseline(record: Recorded) -> Markdown:
    """What memory begins with."""
    before, after = record.growth["memory_before_mb"].median(), record.growth["memory_mb"].max()
    return Markdown(
        f"Python and torch hold {before:.0f} MB before any digit is loaded, a good part of each peak, which is why "
        f"memory's exponents are small; the largest peak of all points is {after:.0f} MB."
    )


def exponents(record: Recorded) -> artefacts.Artefact:
    """For each quantity that grows: range, cost of a step at both ends, and the fitted exponents."""
    return _table("speed-exponents", _fitted(record), "From the smallest size to the largest.")


def _fitted(record: Recorded) -> pd.DataFrame:
    rows = []
    for label, points in record.growth.groupby("label", sort=False):
        value, ms, memory = points.sort_values("value")[["value", *GROWTH]].iloc[[0, -1]].to_dict("list").values()
        powers = [exponent(points, quantity) for quantity in GROWTH]
        ranges = f"{ms[0]:.2f} → {ms[1]:.2f}", f"{memory[0]:.0f} → {memory[1]:.0f}"
        rows.append((label, *value, ranges[0], powers[0], ranges[1], powers[1]))
    titles = ["what grows", "from", "to", GROWTH["ms"], "exponent", GROWTH["memory_mb"], "exponent of memory"]
    return pd.DataFrame(rows, columns=titles)


def _table(name: str, rows: pd.DataFrame, caption: str) -> artefacts.Artefact:
    ranges = rows.columns.intersection(["min–max", *GROWTH.values()])  # stay in a line
    styled = rows.style.format({title: form for title, form in FORMATS.items() if title in rows.columns})
    styled = styled.set_properties(**{"padding-right": "0.8em"}).set_properties(ranges, **{"white-space": "nowrap"})
    styled = styled.set_properties(rows.columns[:1], **{"min-width": "11em", "text-align": "left"})
    return artefacts.table(name, styled.hide(axis="index"), caption)
