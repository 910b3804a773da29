"""A method's chapter: the note on its run, the figure of pruning, the metrics and a sentence on them."""

from collections.abc import Iterable

from IPython.display import Markdown, display

from ccbook.book import artefacts, plots
from ccbook.book.formats import mark, metrics
from ccbook.chapters import METHODS
from ccbook.compare.cells import removable
from ccbook.records.run import Run
from ccbook.wording import count

LOSS = 0.02  # of accuracy: a small one


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
    """The figure CHAPTER-pruning: accuracy as weights are removed."""
    p = run.parameters
    caption = f"Method {METHODS[p.method]}: accuracy as weights are removed, mean and range over seeds."
    words = plots.describe_pruning(run.curves)
    return artefacts.figure(f"{p.chapter}-pruning", plots.pruning_figure(run), caption, words, run.curves, [run])


def numbers(run: Run) -> Markdown:
    """Show the table CHAPTER-metrics: lambda × each metric that the method has.

    Returns: what they show, in words: the accuracy at each lambda, and how much can be removed for a small loss.
    """
    p = run.parameters
    caption = f"Method {METHODS[p.method]}: every metric, mean ± standard deviation over seeds."
    display(artefacts.table(f"{p.chapter}-metrics", metrics(run), caption, run.metrics, [run]))
    mean = plots.mean_curves(run.curves)
    return Markdown(
        f"At λ = {_and(f'{lam:g}' for lam in mean.index)} the whole network recognises "
        f"{_and(f'{a:.1%}' for a in mean[0])} of the test digits. {_and(f'{r}%' for r in removable(mean, LOSS))} of "
        f"the weights can be removed before more than {100 * LOSS:.0f} points of accuracy are lost; with "
        f"{mean.columns[-1]}% removed, {_and(f'{a:.1%}' for a in mean.iloc[:, -1])} remain."
    )


def _and(parts: Iterable[str]) -> str:
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last
