"""How every page writes numbers, verdicts and where they come from."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from ccbook import ROOT
from ccbook.book import artefacts
from ccbook.records.run import Run
from ccbook.wording import count, mean_sd, word

SIGNS = {"agrees": "✓", "close": "≈", "explained": "≡", "differs": "✗", "not tested": "–"}  # of a cell's verdict
CLAIM_SIGNS = {"holds": "✓", "holds in part": "≈", "undecided": "?", "does not hold": "✗", "not tested": "–"}
_HUES = {"✓": "#d7eef4", "≈": "#fdf0c8", "≡": "#e4e0f2", "?": "#e6e6e6", "✗": "#f8d9c4"}
COLOURS = {sign: f"background-color: {hue}; color: black" for sign, hue in _HUES.items()} | {"–": ""}  # CSS
TITLES = {
    "accuracy": "accuracy", "accuracy_curve_mean": "accuracy, mean of 0–90% removed", "stability": "stability",
    "log_likelihood": "log-likelihood, nats", "kl": "KL, nats", "evidence": "evidence, nats",
    "updates": "updates",
    "updates_shared": "updates shared by all λ",  # a hypernetwork's updates serve all its lambdas together
}  # fmt: skip
DECIMALS = {"accuracy": 3, "accuracy_curve_mean": 3, "stability": 2}  # of the others none


def signed(form: str) -> Callable[[object], str]:
    """A number in this form, with the sign that is as wide as a plus."""
    return lambda number: form.format(number).replace("-", "−")


def metric(quantity: str, mean: float, sd: float = np.nan) -> str:
    """A mean with its standard deviation, in the decimals of its quantity."""
    return mean_sd(mean, sd, f",.{DECIMALS.get(quantity, 0)}f").replace("-", "−")


def summary(run: Run) -> pd.DataFrame:
    """Mean ± standard deviation over seeds, as text: lambda × metric."""
    seeds = run.metrics.groupby("lam")[list(TITLES)]
    mean, sd = seeds.mean(), seeds.std()
    text = {name: [metric(name, *cell) for cell in zip(mean[name], sd[name], strict=True)] for name in TITLES}
    return pd.DataFrame(text, mean.index)


def metrics(run: Run) -> pd.DataFrame:
    """The summary for a reader, with titles, and without the updates that the method doesn't make."""
    made = [name for name in TITLES if not name.startswith("updates") or run.metrics[name].any()]
    shown = summary(run)[made]
    return shown.rename(columns=TITLES, index="{:g}".format).rename_axis("λ")


def typed(name: str, value: object) -> str:
    """A parameter's value as it is typed; a folder by its last name alone: where it lies is nobody's business."""
    return Path(str(value)).name if name == "dataset" else word(value)


def in_words(rows: pd.DataFrame, text: str) -> str:
    """The rows in words, for whoever can't see a picture of them: the text with each row's values in its braces."""
    return "; ".join(text.format(**row) for row in rows.to_dict("records")) + "."


def choices(name: str, legend: str, options: Mapping[str, str]) -> str:
    """Radio buttons in HTML that need no script: of what has data-NAME, the figure shows what has the chosen value.

    Args: options, the words for each value; the first is chosen, and the value "all" hides nothing.
    """
    first = next(iter(options))
    radios = [f'<label><input type="radio" name="{name}" value="{value}"{" checked" * (value == first)}> {text}</label>'
              for value, text in options.items()]  # fmt: skip
    hidden = [f'figure:has([name="{name}"][value="{value}"]:checked) [data-{name}]:not([data-{name}="{value}"])'
              for value in options if value != "all"]  # fmt: skip
    return (
        f"<style>{', '.join(hidden)} {{ display: none !important; }}</style>"
        f'<fieldset class="choices"><legend>{legend}</legend>{"".join(radios)}</fieldset>'
    )


def mark(run: Run) -> str:
    """What a reader of a quick run's numbers must know; empty for a run at the paper's scale."""
    p = run.parameters
    if p.profile == "paper":
        return ""
    digits = f"{run.receipt['data']['train']:,} digits"
    return f"Profile {p.profile}, for a look only: {digits}, {count(len(p.seeds), 'seed')}"


def marks(runs: Iterable[Run]) -> str:
    """The marks of several runs, each once on a line of its own."""
    return "\n".join(sorted({mark(run) for run in runs} - {""}))


def sources(runs: Mapping[str, Run]) -> Markdown:
    """The runs that a page's numbers come from, in one paragraph."""
    said = "".join(f"**{line}.** " for line in marks(runs.values()).splitlines())
    return Markdown(f"{said}From the runs {', '.join(f'`{run.id}`' for run in runs.values())}.")


def folder(profile: str) -> Path:
    """book/results for the paper's numbers; another profile's stay apart."""
    return ROOT / "book" / ("" if profile == "paper" else profile) / "results"


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a file of the book."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(artefacts.csv(table))
