"""What the pages' pictures share: colours, axes, and the plot of pruning with the words for it."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ccbook.book.formats import mark
from ccbook.chapters import METHODS
from ccbook.compare import printed
from ccbook.records.run import Run

MARKERS = "osD^vPX<>"
FEW, LABELS = 6, 12  # the most lambdas of a legend within the axes, and of one beside them
COLOURS = {"direct": "#000000", "low_rank": "#1f77b4", "linear": "#d62728", "tempered": "#2ca02c"}  # by function
TUNED = "tuned"  # direct training with a schedule like (g)'s, beside the methods
MIDDLE = LinearSegmentedColormap.from_list("middle", ["#af48ef", "#346189", "#289e7c", "#757613"])
mpl.rcParams["svg.hashsalt"] = "complexity-control"  # the same picture gives the same file
mpl.rcParams |= {"figure.facecolor": "white", "axes.spines.top": False, "axes.spines.right": False}
mpl.rcParams |= {"axes.grid": True, "grid.alpha": 0.3}


def look(method: str) -> dict[str, Any]:
    """How the pictures show a method: its title, short name and colour, and whether its line is solid.

    A family has one colour, and those of it that start from another run, or stop after one epoch, are dashed.
    """
    if method == TUNED:
        return {"title": "direct training, tuned", "short": TUNED, "colour": "#7f7f7f", "solid": True}
    chapter = METHODS[method]
    function = METHODS[chapter.start or method].function
    first = next(letter for letter, other in METHODS.items() if other.function == function)
    colour = COLOURS.get(function, "#9467bd")
    return {"title": str(chapter), "short": f"({method})", "colour": colour, "solid": method == first}


def palette(lambdas: Iterable[float]) -> dict[float, tuple[float, ...]]:
    """Colour of each lambda, the same on every page: the paper's range 0.1 ... 100 from violet to olive.

    Four decades below it are on plasma's middle, and two above it are greys, for the reruns. All of it has a contrast
    of 3:1 and more to white, as WCAG asks of a picture's parts, and in the dark, where lightness is turned round. The
    paper's four are apart in both themes for eyes that don't tell red from green, too: tests/test_plots.py.
    """

    def colour(decade: float) -> tuple[float, ...]:
        if decade < -1:
            return mpl.colormaps["plasma"](0.6 - np.clip((-1 - decade) / 4, 0, 1) * 0.4)
        if decade > 2:
            return mpl.colormaps["gray"](0.5 - np.clip((decade - 2) / 2, 0, 1) * 0.4)
        return MIDDLE((decade + 1) / 3)

    return {lam: colour(np.log10(lam)) for lam in lambdas}


def pruning(curves: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy against the percent of weights removed: mean over seeds, and a band from the least to the greatest."""
    lambdas = sorted(curves["lam"].unique())
    markers = [MARKERS[k % len(MARKERS)] for k in range(len(lambdas))]
    sns.lineplot(curves, x="pruned_percent", y="accuracy", errorbar=("pi", 100), hue="lam", hue_order=lambdas, ax=ax,
                 palette=palette(lambdas), style="lam", style_order=lambdas, markers=markers, dashes=False)  # fmt: skip
    ax.set(xlabel="weights removed, %", ylabel="test accuracy", xticks=range(0, 100, 10), ylim=(0, 1))
    legend(ax, lambdas)
    return ax


def legend(ax: Axes, lambdas: Sequence[float]) -> None:
    """The lambdas of an axes' curves: a few of them within it, more beside it, and of very many the ends and some."""
    handles, last = ax.get_legend_handles_labels()[0], len(lambdas) - 1
    named = sorted({round(k) for k in np.linspace(0, last, min(last + 1, LABELS))})
    title = "λ" if len(named) == len(lambdas) else "some of the λ"
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0, "fontsize": "small"}
    ax.legend([handles[k] for k in named], [f"{lambdas[k]:g}" for k in named], title=title,
              **beside if len(lambdas) > FEW else {})  # fmt: skip


def papers_curves(letter: str, ax: Axes) -> None:
    """The paper's curves of a method, dashed, in the colours of their lambdas, through the points that are known."""
    own = printed.curves().query("method == @letter").pivot_table("value", "pruned_percent", "lam")
    for lam, colour in palette(own.columns).items():
        ax.plot(own[lam].dropna(), color=colour, linestyle=(0, (2, 1.5)), linewidth=1.6, zorder=3)


def pruning_figure(run: Run, behind: Run | None = None) -> Figure:
    """The run's panel of Figure 1; another run's curves in grey behind it."""
    figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    ends: dict[float, str] = {}  # where a curve ends, and the lambdas of those that end about there
    for lam, mean in mean_curves(behind.curves).iterrows() if behind else ():
        ax.plot(mean, color="0.75", linewidth=3, zorder=0)
        place = next((other for other in ends if abs(other - mean.iloc[-1]) < 0.05), mean.iloc[-1])
        ends[place] = f"{ends[place]}, {lam:g}" if place in ends else f"{lam:g}"
    for place, lambdas in ends.items():
        ax.annotate(lambdas, (mean.index[-1], place), (6, 0), textcoords="offset points", color="0.45", va="center",
                    fontsize="small")  # fmt: skip
    title = [str(METHODS[run.parameters.method]), mark(run)]
    pruning(run.curves, ax).set_title("\n".join(filter(None, title)))
    plt.close(figure)  # shown once, as the cell's value
    return figure


def loss_figure(run: Run) -> Figure:
    """The run's loss against the epoch: mean over seeds, and a band from the least to the greatest."""
    figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
    rows = run.history
    lambdas = sorted(rows["lam"].dropna().unique())  # none of a hypernetwork: it has one loss for all lambdas
    one = rows["epoch"].max() == 1  # no line: dots, and bars for bands
    sns.lineplot(rows, x="epoch", y="loss", hue="lam" if lambdas else None, palette=palette(lambdas) or None, ax=ax,
                 errorbar=("pi", 100), marker="o" if one else None, err_style="bars" if one else "band")  # fmt: skip
    ax.set(xlabel="epoch", ylabel="loss, nats a digit", yscale="log" if rows["loss"].min() > 0 else "linear")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if lambdas:
        legend(ax, lambdas)
    plt.close(figure)
    return figure


def mean_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy over seeds: a row for each lambda, a column for each percent of removed weights."""
    return curves.pivot_table(values="accuracy", index="lam", columns="pruned_percent")


def describe_pruning(curves: pd.DataFrame) -> str:
    """The curves in words, for whoever can't see them: the start, the middle and the end of each."""
    mean = mean_curves(curves)
    ends = mean.columns[[0, len(mean.columns) // 2, -1]]
    words = "; ".join(
        f"λ = {lam:g}: " + ", ".join(f"{row[percent]:.1%} with {percent}% removed" for percent in ends)
        for lam, row in mean.iterrows()
    )
    return f"Test accuracy against the percent of removed weights, a curve for each λ. {words}."


def plain_ticks(*axes: Axis) -> None:
    """1, 2, 5, 10, ... on logarithmic axes, because most of ours span little more than a decade."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
