"""From runs to what a page shows: curves, tables and sentences, all computed."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from complexity_control import reported
from complexity_control.runs import Run

MARKERS = "osD^vPX<>"
SIGNS = {"agrees": "✓", "close": "≈", "differs": "✗", "not tested": "–"}
BACKGROUNDS = {
    "agrees": "background-color: #d7eef4; color: black",
    "close": "background-color: #fdf0c8; color: black",
    "differs": "background-color: #f8d9c4; color: black",
    "not tested": "",
}
TITLES = {
    "accuracy": "accuracy",
    "accuracy_curve_mean": "accuracy, mean of 0–90% removed",
    "stability": "stability",
    "log_likelihood": "log-likelihood, nats",
    "kl": "KL, nats",
    "evidence": "evidence, nats",
    "updates": "updates",
}

mpl.rcParams |= {
    "svg.hashsalt": "complexity-control",  # the same picture gives the same file
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def palette(lambdas: Iterable[float]) -> dict[float, tuple[float, ...]]:
    """Colour of each lambda, the same on every page: the paper's range 0.1 ... 100 on viridis' darker part."""
    place = {lam: np.clip((np.log10(lam) + 1) / 3, 0, 1) * 0.78 for lam in lambdas}
    return {lam: mpl.colormaps["viridis"](x) for lam, x in place.items()}


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


def pruning_figure(run: Run) -> Figure:
    """The run's panel of Figure 1."""
    figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    pruning(run.curves, ax).set_title(_title(run))
    plt.close(figure)  # shown once, as the cell's value
    return figure


def figure1(runs: Mapping[str, Run]) -> Figure:
    """Six panels, one a method; a method without a run says so."""
    figure, axes = plt.subplots(3, 2, figsize=(8.5, 10), sharex=True, sharey=True, layout="constrained")
    figure.supxlabel("weights removed, %")
    figure.supylabel("test accuracy")
    for (method, name), ax in zip(reported.METHODS.items(), axes.flat, strict=True):
        if method in runs:
            pruning(runs[method].curves, ax).set(xlabel="", ylabel="")
        else:
            ax.text(45, 0.5, "not there yet", ha="center", va="center", color="gray")
        ax.set_title(f"({method}) {name}")
    marks = {mark(run) for run in runs.values()} - {""}
    if marks:
        figure.suptitle(*marks, color="firebrick")
    plt.close(figure)
    return figure


def mark(run: Run) -> str:
    """What a reader of a quick run's numbers must know; empty for a run at the paper's scale."""
    if run.parameters.profile == "paper":
        return ""
    p, digits = run.parameters, run.receipt["data"]["train"]
    return f"Profile {p.profile}, for a look only: {digits:,} digits, {_count(len(p.seeds), 'seed')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _title(run: Run) -> str:
    return "\n".join(filter(None, [f"({run.parameters.method}) {reported.METHODS[run.parameters.method]}", mark(run)]))


def note(run: Run) -> Markdown:
    """Where the page's numbers come from."""
    p, receipt = run.parameters, run.receipt
    made = (
        f"Run `{run.id}`: {_count(len(p.lambdas) * len(p.seeds), 'model')}, {p.dataset}, "
        f"{receipt['data']['train']:,} training and {receipt['data']['test']:,} test digits, "
        f"{_count(p.epochs, 'epoch')}; made in {receipt['seconds']:,.0f} s on {_count(receipt['cores'], 'core')} "
        f"({receipt['processor']})."
    )
    return Markdown(f"**{mark(run)}.** {made}" if mark(run) else made)


def table(run: Run) -> pd.DataFrame:
    """Mean ± standard deviation over seeds of every metric, a row for each lambda."""
    grouped = run.metrics.groupby("lam")
    columns = {
        title: [_spread(name, mean, sd) for mean, sd in zip(grouped[name].mean(), grouped[name].std(), strict=True)]
        for name, title in TITLES.items()
    }
    return pd.DataFrame(columns, index=pd.Index([f"{lam:g}" for lam in grouped.groups], name="λ"))


def _spread(quantity: str, mean: float, sd: float = np.nan) -> str:
    if np.isnan(mean):
        return "–"
    digits = {"accuracy": 3, "accuracy_curve_mean": 3, "stability": 2}.get(quantity, 0)
    spread = f" ± {sd:,.{digits}f}" if sd > 0 else ""
    return f"{mean:,.{digits}f}{spread}".replace("-", "−")


def seen(run: Run, loss: float = 0.02) -> Markdown:
    """What the numbers show, in words: the accuracy at each lambda, and how much can be removed for a small loss."""
    mean = run.curves.pivot_table(values="accuracy", index="lam", columns="pruned_percent")
    kept = mean.ge(mean[0] - loss, axis="index").cummin(axis="columns")  # until the first fall below the bound
    removable = kept.mul(mean.columns, axis="columns").max(axis="columns")
    lambdas = _listed(f"{lam:g}" for lam in mean.index)
    text = (
        f"At λ = {lambdas} the whole network recognises {_listed(f'{a:.1%}' for a in mean[0])} of the test digits. "
        f"{_listed(f'{r}%' for r in removable)} of the weights can be removed before more than "
        f"{100 * loss:.0f} points of accuracy are lost; with {mean.columns[-1]}% removed, "
        f"{_listed(f'{a:.1%}' for a in mean.iloc[:, -1])} remain."
    )
    return Markdown(text)


def _listed(parts: Iterable[str]) -> str:
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last


def compared(cells: pd.DataFrame, table: int, quantity: str) -> Styler:
    """A table of the paper: ours, mean ± sd over seeds, above what was printed, with the verdict's sign."""
    rows = cells[(cells["table"] == table) & (cells["quantity"] == quantity)]
    text: dict[str, dict[str, str]] = {}
    colour: dict[str, dict[str, str]] = {}
    for cell in rows.to_dict("records"):
        method = f"({cell['method']}) {reported.METHODS[cell['method']]}"
        lam = "all λ" if np.isnan(cell["lam"]) else f"λ = {cell['lam']:g}"
        ours = f"{_spread(quantity, cell['mean'], cell['sd'])} {SIGNS[cell['verdict']]}"
        if cell["seeds"] == 0:
            ours = "not there yet"
        text.setdefault(lam, {})[method] = f"{ours}<br><small>paper {_spread(quantity, cell['paper'])}</small>"
        colour.setdefault(lam, {})[method] = BACKGROUNDS[cell["verdict"]]
    # one line each for ours and for the paper's, whatever the width of the page
    layout: dict[str, Any] = {"white-space": "nowrap", "padding": "0.4em 0.8em", "text-align": "right"}
    return pd.DataFrame(text).style.apply(lambda _: pd.DataFrame(colour), axis=None).set_properties(**layout)
