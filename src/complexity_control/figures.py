"""Pictures of runs: every plotter takes its axes, and colours lambda the same way on every page."""

from collections.abc import Iterable, Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from complexity_control import reported
from complexity_control.runs import Run
from complexity_control.speed import Recorded, exponent
from complexity_control.tables import LEVELS, mark, price

MARKERS = "osD^vPX<>"
mpl.rcParams |= {
    "svg.hashsalt": "complexity-control",  # the same picture gives the same file
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def palette(lambdas: Iterable[float]) -> dict[float, tuple[float, ...]]:
    """Colour of each lambda, the same on every page: the paper's range 0.1 ... 100 on viridis' darker part.

    Four decades below it are on plasma's middle, and two above it are greys, for the reruns. All of it has a contrast
    of 3:1 and more to white, as WCAG asks of a picture's parts.
    """
    decades = {lam: np.log10(lam) for lam in lambdas}
    colours = {}
    for lam, x in decades.items():
        if x < -1:
            colours[lam] = mpl.colormaps["plasma"](0.6 - np.clip((-1 - x) / 4, 0, 1) * 0.4)
        elif x > 2:
            colours[lam] = mpl.colormaps["gray"](0.5 - np.clip((x - 2) / 2, 0, 1) * 0.4)
        else:
            colours[lam] = mpl.colormaps["viridis"]((x + 1) / 3 * 0.57)
    return colours


def pruning(curves: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy against the percent of weights removed: mean over seeds, and a band of one standard deviation."""
    lambdas = sorted(curves["lam"].unique())
    sns.lineplot(
        curves,
        x="pruned_percent",
        y="accuracy",
        hue="lam",
        style="lam",
        hue_order=lambdas,
        style_order=lambdas,
        palette=palette(lambdas),
        markers=[MARKERS[k % len(MARKERS)] for k in range(len(lambdas))],
        errorbar="sd",
        ax=ax,
    )
    ax.set(xlabel="weights removed, %", ylabel="test accuracy", xticks=range(0, 100, 10), ylim=(0, 1))
    ax.legend(ax.get_legend_handles_labels()[0], [f"{lam:g}" for lam in lambdas], title="λ")
    return ax


def pruning_figure(run: Run, behind: Run | None = None) -> Figure:
    """The run's panel of Figure 1; another run's curves in grey behind it."""
    figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    if behind:
        for lam, curve in behind.curves.groupby("lam"):
            mean = curve.groupby("pruned_percent")["accuracy"].mean()
            ax.plot(mean, color="0.75", linewidth=3, zorder=0)
            ax.annotate(f"{lam:g}", (mean.index[-1], mean.iloc[-1]), (6, 0), textcoords="offset points", color="0.45",
                        va="center", fontsize="small")  # fmt: skip
    pruning(run.curves, ax).set_title(_title(run))
    plt.close(figure)  # shown once, as the cell's value
    return figure


def figure1(runs: Mapping[str, Run]) -> Figure:
    """Six panels, one a method."""
    figure, axes = plt.subplots(3, 2, figsize=(8.5, 10), sharex=True, sharey=True, layout="constrained")
    figure.supylabel("test accuracy")
    for (method, name), ax in zip(reported.METHODS.items(), axes.flat, strict=True):
        pruning(runs[method].curves, ax).set(xlabel="", ylabel="")
        handles = ax.get_legend_handles_labels()[0]
        names = [text.get_text() for text in ax.get_legend().get_texts()]
        ax.get_legend().remove()
        ax.set_title(f"({method}) {name}")
    for ax in axes[-1]:
        ax.set_xlabel("weights removed, %")
    # the colours are the same in every panel
    figure.legend(handles, names, title="λ", loc="outside lower center", ncols=len(names))
    marks = {mark(run) for run in runs.values()} - {""}
    if marks:
        figure.suptitle(*marks, color="firebrick")
    plt.close(figure)
    return figure


def _title(run: Run) -> str:
    return "\n".join(filter(None, [f"({run.parameters.method}) {reported.METHODS[run.parameters.method]}", mark(run)]))


def cost(runs: Mapping[str, Run]) -> Figure:
    """Updates, and seconds of one core, to get 1 ... LEVELS complexity levels by each method."""
    prices = price(runs)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    levels = np.arange(1, LEVELS + 1)
    colours = sns.color_palette("colorblind", len(prices))
    for ax, unit in zip(axes, ("updates", "seconds"), strict=True):
        for k, (method, row) in enumerate(prices.iterrows()):
            total = row[f"{unit}_once"] + levels * row[f"{unit}_each"]
            ax.plot(
                levels, total, marker=MARKERS[k], color=colours[k], label=f"({method}) {reported.METHODS[str(method)]}"
            )
        ax.set(xlabel="complexity levels wanted", ylabel={"updates": "updates", "seconds": "seconds of one core"}[unit])
        ax.set(ylim=(0, None))
    axes[0].legend(fontsize="small")
    figure.suptitle("\n".join({mark(run) for run in runs.values()} - {""}), color="firebrick", fontsize="medium")
    plt.close(figure)
    return figure


def distances(study: pd.DataFrame) -> Figure:
    """The audit's trials: distance to Table 3 across, to Table 1 up, under both readings; a panel for each method."""
    methods = list(dict.fromkeys(study["method"]))
    figure, axes = plt.subplots(2, 2, figsize=(9, 9), layout="constrained")
    for method, ax in zip(methods, axes.flat, strict=True):
        trained = study[(study["method"] == method) & study["table3"].notna()]
        for k, row in enumerate(trained.itertuples()):
            style = {"color": sns.color_palette("colorblind")[k % 10], "marker": MARKERS[k], "linestyle": ":"}
            ax.plot([row.table3] * 2, [row.table1, row.table1_curve], **style, fillstyle="none")
            ax.plot([row.table3], [row.table1], **style, label=row.trial)
        ax.axvline(0.1, color="gray", linewidth=0.7)
        ax.set(xscale="log", yscale="log", title=f"({method}) {reported.METHODS[method]}")
        for axis in (ax.xaxis, ax.yaxis):
            _plain_ticks(axis)
        ax.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    figure.supxlabel("distance to Table 3: root mean square of ln(ours / paper); the line is at 0.1")
    figure.supylabel("distance to Table 1, accuracy")
    plt.close(figure)
    return figure


def readings(read: pd.DataFrame) -> Figure:
    """Ours against the paper's, a panel for each reading; on the diagonal the two agree."""
    groups = list(read.groupby(["quantity", "reading"], sort=False))
    figure, axes = plt.subplots(2, 3, figsize=(9.5, 6.5), layout="constrained")
    colours = sns.color_palette("colorblind", len(reported.METHODS))
    for ((quantity, reading), rows), ax in zip(groups, axes.flat, strict=False):
        for k, (method, points) in enumerate(rows.groupby("method")):
            ax.plot(points["paper"], points["ours"], MARKERS[k], color=colours[k], label=f"({method})")
        ends = [rows[["paper", "ours"]].min().min(), rows[["paper", "ours"]].max().max()]
        ax.plot(ends, ends, color="gray", linewidth=0.7)
        ax.set(title=f"{quantity}: {reading}", xlabel="paper", ylabel="ours")
        ax.title.set_fontsize("small")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    axes.flat[-1].axis("off")
    axes.flat[-1].legend(handles, labels, loc="center", title="method")
    plt.close(figure)
    return figure


def steps(record: Recorded) -> Figure:
    """Milliseconds of a training step, a bar for each competitor, on a logarithmic axis."""
    bench = record.bench
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    plt.close(figure)
    if not record:
        return _not_yet(figure)
    rows = bench[bench["kind"] == "step"].sort_values("ms")
    who = rows["estimator"].mask(rows["name"].str.startswith("ours"), "ours")
    groups = dict(zip(["ours", *sorted(set(bench["estimator"]))], sns.color_palette("colorblind"), strict=False))
    sns.barplot(
        rows,
        x="ms",
        y="label",
        hue=who,
        hue_order=[g for g in groups if g in set(who)],
        palette=groups,
        dodge=False,
        ax=ax,
    )
    for place, ms in enumerate(rows["ms"]):
        ax.text(ms, place, f" {ms:.2f}", va="center", fontsize="small")
    ax.set(xscale="log", xlim=(rows["ms"].min() / 2, rows["ms"].max() * 1.5), xlabel="ms a training step", ylabel="")
    _plain_ticks(ax.xaxis)
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.5, 1), ncols=3, title=None, frameon=False)
    ax.grid(visible=False, axis="y")
    return figure


GROWTH = {"ms": "ms a model-step", "memory_mb": "peak memory, MB"}


def growth(record: Recorded) -> Figure:
    """Cost against what grows: points, and the fitted power; time above, memory below."""
    axes_of = {"models": ["models"], "hidden width": ["width"], "training digits": ["digits"]}
    axes_of |= {"sampled λ": ["samples_c", "samples_e"]}
    figure, axes = plt.subplots(2, len(axes_of), figsize=(10, 5), layout="constrained", sharex="col", sharey="row")
    plt.close(figure)
    if not record:
        return _not_yet(figure)
    colours = sns.color_palette("colorblind")
    for (name, shown), column in zip(axes_of.items(), axes.T, strict=True):
        for quantity, ax in zip(GROWTH, column, strict=True):
            for k, which in enumerate(shown):
                points = record.growth[record.growth["axis"] == which]
                power = exponent(points, quantity)
                middle = np.exp(np.log(points[["value", quantity]]).mean())
                line = middle[quantity] * (points["value"] / middle["value"]) ** power
                label = f"({which[-1]}) " if len(shown) > 1 else ""
                style = {"color": colours[k], "marker": MARKERS[k]}
                ax.plot(points["value"], points[quantity], linestyle="none", **style)
                ax.plot(points["value"], line, color=colours[k], label=f"{label}exponent {power:.2f}")
            ax.set(xscale="log", yscale="log")
            ax.legend(fontsize="small")
            _plain_ticks(ax.yaxis)
        column[1].set_xlabel(name)
    for title, ax in zip(GROWTH.values(), axes[:, 0], strict=True):
        ax.set_ylabel(title)
    return figure


def _plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis, because most of ours span little more than a decade."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _not_yet(figure: Figure) -> Figure:
    for ax in figure.axes:
        ax.axis("off")
    figure.text(0.5, 0.5, "not recorded yet: make bench", ha="center", va="center", color="gray")
    return figure


def surface(rows: pd.DataFrame) -> Figure:
    """Accuracy over lambda and the percent of removed weights, with lines of equal accuracy; a panel each method."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    levels = np.linspace(0, 1, 11)
    for (method, points), ax in zip(rows.groupby("method"), axes, strict=True):
        grid = points.pivot_table(values="accuracy", index="pruned_percent", columns="lam")
        place = (grid.columns, grid.index, grid.to_numpy())
        filled = ax.contourf(*place, levels=levels, cmap="cividis")
        # two colours, because no one colour is seen on both ends of the map
        for part, colour in ((levels < 0.55, "white"), (levels > 0.55, "black")):
            ax.clabel(ax.contour(*place, levels=levels[part], colors=colour, linewidths=0.7), fmt="%.1f", fontsize=8)
        ax.set(xscale="log", xlabel="λ", title=f"({method}) {reported.METHODS[str(method)]}")
    axes[0].set_ylabel("weights removed, %")
    figure.colorbar(filled, ax=axes, label="test accuracy")
    plt.close(figure)
    return figure
