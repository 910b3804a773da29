"""Tables 1-3 as dumbbells: for each value the paper's and ours, our interval, and the tolerance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator
from matplotlib.transforms import blended_transform_factory

from ccbook.book import artefacts
from ccbook.book.formats import SIGNS, TITLES, marks, metric
from ccbook.book.plots import palette, plain_ticks
from ccbook.chapters import METHODS
from ccbook.compare import cells
from ccbook.records.run import Run

ROW = 0.145  # inches
SCALES = {"evidence": -1, "updates": 1e-9}  # logarithmic axes: without negative numbers, and in billions


def figure(judged: pd.DataFrame, number: int, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """A table of the paper as a figure, a panel for each of its quantities; judged, as of cells.judge()."""
    rows = judged[judged["table"] == number]
    parts = [own for _, own in rows.groupby("quantity", sort=False)]
    # a line for each value, and one for each method's title unless it has a single value
    heights = [len(own) + own["method"].nunique() * bool(own["lam"].notna().any()) for own in parts]
    chart, axes = plt.subplots(len(parts), 1, figsize=(5.6, ROW * sum(heights) + 0.6 * len(parts) + 0.5), squeeze=False,
                               height_ratios=heights, layout="constrained")  # fmt: skip
    for own, ax in zip(parts, axes.flat, strict=True):
        draw(own, ax)
    handles: list[Any] = [
        Line2D([], [], linestyle="none", marker="o", color="0.2", markerfacecolor="white", label="the paper's"),
        Line2D([], [], marker="o", color="0.2", label="ours, 95% interval"),
        Patch(color="0.87", label="tolerance"),
    ]
    chart.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
    chart.suptitle(marks(runs.values()), color="firebrick", fontsize="medium")
    caption = f"Table {number}: the paper's values, ours, the band in which ours agrees, and the verdict's sign."
    words = " ".join(map(in_words, parts))
    return artefacts.figure(f"results-table{number}", chart, caption, f"Table {number}. {words}", rows, runs.values())


def in_words(own: pd.DataFrame) -> str:
    """The verdicts of one quantity, counted, and the value that is furthest from the paper's, in tolerances."""
    counted = own["verdict"].value_counts().reindex(list(SIGNS)).dropna()
    text = f"{TITLES[own['quantity'].iloc[0]]}: " + ", ".join(f"{verdict} {n:.0f}" for verdict, n in counted.items())
    known = own.dropna(subset="mean").to_dict("records")
    if not known:
        return f"{text}."

    def apart(cell: dict[str, Any]) -> tuple[float, float]:  # of a count that has no tolerance, the share decides
        off = cells.tolerances_off(cell["quantity"], cell["paper"], cell["mean"])
        return off, abs(cell["difference"] / cell["paper"])

    worst = max(known, key=apart)
    at = "" if np.isnan(worst["lam"]) else f" at λ = {worst['lam']:g}"
    ours, paper = (metric(worst["quantity"], worst[name]) for name in ("mean", "paper"))
    return f"{text}. Furthest apart: ({worst['method']}){at}, ours {ours}, the paper's {paper}."


def draw(own: pd.DataFrame, ax: Axes) -> None:
    """A line for each value of one quantity, under its method's title."""
    quantity, titled = own["quantity"].iloc[0], own["lam"].notna().any()
    scale = SCALES.get(quantity, 1)
    colours = palette(own["lam"].dropna().unique()) | {None: "0.2"}
    left, right = ax.get_yaxis_transform(), blended_transform_factory(ax.transAxes, ax.transData)
    ticks: dict[int, str] = {}
    ax.use_sticky_edges = False
    line = 0
    for method, cases in own.groupby("method"):
        if titled:
            ax.text(0.01, line, str(METHODS[str(method)]), transform=left, va="center", fontsize=9, weight="bold")
            line += 1
        for cell in cases.to_dict("records"):
            ticks[line] = f"λ = {cell['lam']:g}" if titled else str(METHODS[str(method)])
            paper, ours = scale * cell["paper"], scale * cell["mean"]
            low, high = (scale * edge for edge in cells.band(quantity, cell["paper"]))
            ax.barh(line, high - low, left=low, height=0.9, color="0.87", zorder=1)
            colour = colours[cell["lam"] if titled else None]
            ax.plot([paper, ours], [line, line], color=colour, linewidth=1.2, alpha=0.6, zorder=2)
            ax.plot([scale * cell["low"], scale * cell["high"]], [line, line], color=colour, linewidth=3, zorder=3)
            ax.plot(paper, line, "o", color=colour, markerfacecolor="white", markersize=7, zorder=4)
            ax.plot(ours, line, "o", color=colour, markersize=4.5, zorder=5)
            ax.text(1.02, line, SIGNS[cell["verdict"]], transform=right, va="center")
            line += 1
    ax.set(yticks=list(ticks), ylim=(line - 0.4, -0.6), xmargin=0.03)
    ax.set_yticklabels(list(ticks.values()), fontsize=9)
    ax.grid(visible=False, axis="y")
    better = "better →" if titled else "in billions, ← fewer"  # on every axis of quality, right is better
    ax.set_xlabel(f"{TITLES[quantity]}, {better}")
    if quantity in SCALES:
        ax.set_xscale("log")
        plain_ticks(ax.xaxis)
    if quantity == "evidence":
        ax.xaxis.set_major_formatter("−{x:,.0f}")
        ax.xaxis.set_major_locator(LogLocator())
    if quantity in ("evidence", "stability"):
        ax.invert_xaxis()
