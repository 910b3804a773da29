"""A method's chapter: the note on its run, the figure of pruning, the metrics and a sentence on them."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from IPython.display import Markdown, display
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from ccbook import parameters
from ccbook.book import artefacts, plots
from ccbook.book.formats import in_words, mark, metrics
from ccbook.chapters import METHODS, defaults
from ccbook.compare.cells import SMALL_LOSS, removable
from ccbook.parameters import FineTuning
from ccbook.records import run as runs
from ccbook.records import store
from ccbook.records.run import Run
from ccbook.wording import count

FLOOR = 0.5  # of the axis of accuracy, where all curves are above it: half a point is to be seen

LOOKS: dict[str, dict[str, Any]] = {  # beside a fine-tuning
    "after": {"linestyle": "-", "marker": "o"},
    "before": {"linestyle": "--", "marker": "o", "markerfacecolor": "white"},
    "(b)": {"linestyle": ":", "marker": "s", "color": "0.45"},
}


def note(run: Run) -> Markdown:
    """Where the page's numbers come from."""
    p, receipt, trained = run.parameters, run.receipt, count(run.parameters.models, "model")
    if METHODS[p.method].is_hypernetwork:
        trained = f"{count(len(p.seeds), 'hypernetwork')} for any λ"
    sentence = (
        f"Run `{run.id}`: {trained}, {p.dataset}, {receipt['data']['train']:,} training and "
        f"{receipt['data']['test']:,} test digits, {count(p.epochs, 'epoch')}; computed in {receipt['seconds']:,.0f} s "
        f"on {count(receipt['cores'], 'core')} ({receipt['processor']})."
    )
    return Markdown(f"**{mark(run)}.** {sentence}" if mark(run) else sentence)


def pruning(run: Run) -> artefacts.Artefact:
    """The figure CHAPTER-pruning: accuracy as weights are removed; of a fine-tuning, before and after it."""
    p = run.parameters
    if isinstance(p, FineTuning):
        return before_and_after(run, store.start(p), one_epoch(run))
    caption = f"Method {METHODS[p.method]}: accuracy as weights are removed, mean and range over seeds."
    words = plots.describe_pruning(run.curves)
    return artefacts.figure(f"{p.chapter}-pruning", plots.pruning_figure(run), caption, words, run.curves, [run])


def one_epoch(run: Run) -> Run | None:
    """The run of (b) with a fine-tuning's digits, network, lambdas and seeds, if it is on record."""
    values = defaults(METHODS["b"].name) | {name: value for name, value in run.parameters if name in store.SHARED}
    return store.named(runs.name(parameters.check(METHODS["b"].name, values), run.receipt["data"]["sha256"]))


def before_and_after(tuned: Run, start: Run, direct: Run | None) -> artefacts.Artefact:
    """The figure CHAPTER-pruning of a fine-tuning: a panel for each lambda, with what it starts from, and (b)."""
    shown = {"after": tuned, "before": start} | ({"(b)": direct} if direct else {})
    curves = {when: run.curves.groupby(["lam", "pruned_percent"])["accuracy"] for when, run in shown.items()}
    mean = pd.DataFrame({when: groups.mean() for when, groups in curves.items()})
    lambdas = plots.palette(mean.index.unique("lam"))
    height = -(-len(lambdas) // 2)
    figure, axes = plt.subplots(height, 2, figsize=(6.5, 2.3 * height + 0.9), sharex=True, sharey=True, squeeze=False,
                                layout="constrained")  # fmt: skip
    titles = {when: str(METHODS[run.parameters.method]) for when, run in shown.items()}
    titles |= {when: f"{titles[when]}, {when}" for when in ("before", "after")}
    for (lam, colour), ax in zip(lambdas.items(), axes.flat, strict=False):
        for when, groups in curves.items():
            style = {"color": colour, "markersize": 4} | LOOKS[when]
            ends = groups.agg(["min", "max"]).loc[lam]
            ax.fill_between(ends.index, ends["min"], ends["max"], color=style["color"], alpha=0.15, linewidth=0)
            ax.plot(mean[when].loc[lam], **style)
        ax.set(xlabel="weights removed, %", ylabel="test accuracy")
        ax.label_outer()
        ax.set_title(f"λ = {lam:g}", fontsize="medium")
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[len(lambdas) :]:
        ax.axis("off")
    axes[0, 0].set_ylim(FLOOR if mean.min(axis=None) >= FLOOR else 0, 1)
    keys = [Line2D([], [], **{"color": "0.1", "label": titles[when]} | LOOKS[when]) for when in shown]
    figure.legend(handles=keys, loc="outside lower center", fontsize="small")
    figure.suptitle(mark(tuned), color="firebrick", fontsize="medium")
    p, whole = tuned.parameters, mean.xs(0, level="pruned_percent").reset_index()
    epochs = count(p.epochs, "epoch")
    caption = f"Before and after {epochs} of fine-tuning, mean and range over the seeds. {changed(mean)}"
    alt = f"Test accuracy against the percent of removed weights, a panel for each λ. {changed(mean)} Whole networks: "
    alt += in_words(whole, ", ".join(["λ = {lam:g}", *(f"{when} {{{when}:.1%}}" for when in shown)]))
    rows = pd.concat(run.curves for run in shown.values())
    return artefacts.figure(f"{p.chapter}-pruning", figure, caption, alt, rows, shown.values())


def changed(mean: pd.DataFrame) -> str:
    """By how much a fine-tuning changes the accuracy of the whole network, and how far that is from (b)'s, in words.

    Args: mean, accuracies by lambda and percent removed, with the columns after, before and, where known, (b).
    """
    whole = mean.xs(0, level="pruned_percent")
    at = f"at λ = {_and(f'{lam:g}' for lam in whole.index)}"

    def points(of: str) -> str:
        return _and(f"{round(100 * gap, 1) + 0:+.1f}".replace("-", "−") for gap in whole["after"] - whole[of])

    text = f"The whole network's accuracy changes by {points('before')} points {at}."
    beside = f" It ends {points('(b)')} points from (b), one epoch from a random start." if "(b)" in whole else ""
    return text + beside


def numbers(run: Run) -> Markdown:
    """Show the table CHAPTER-metrics: lambda × each metric that the method has.

    Returns: what they show, in words: the accuracy at each lambda, and how much can be removed for a small loss.
    """
    p = run.parameters
    caption = f"Method {METHODS[p.method]}: every metric, mean ± standard deviation over seeds."
    display(artefacts.table(f"{p.chapter}-metrics", metrics(run), caption, run.metrics, [run]))
    mean = plots.mean_curves(run.curves)
    parts = removable(mean, SMALL_LOSS)
    return Markdown(
        f"At λ = {_and(f'{lam:g}' for lam in mean.index)} the whole network recognises "
        f"{_and(f'{a:.1%}' for a in mean[0])} of the test digits. {_and(f'{part}%' for part in parts)} of "
        f"the weights can be removed before more than {100 * SMALL_LOSS:.0f} points of accuracy are lost; with "
        f"{mean.columns[-1]}% removed, {_and(f'{a:.1%}' for a in mean.iloc[:, -1])} remain."
    )


def _and(parts: Iterable[str]) -> str:
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last
