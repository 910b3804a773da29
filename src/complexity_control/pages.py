"""The registry page and a page for each run. Whatever a user typed is escaped before it lands on one."""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from complexity_control import figures, registry, reported, tables, words
from complexity_control.parameters import Parameters, defaults
from complexity_control.registry import Damaged
from complexity_control.runs import Run

SHOWN = ("accuracy", "accuracy_curve_mean", "stability", "kl", "evidence")
COLUMNS = {  # of the registry: title -> whether a first click sorts the largest first
    "run": False,
    "method": False,
    "changed": False,
    "data": False,
    "best accuracy": True,
    "minutes": True,
    "finished": True,
}


def escaped(value: object) -> str:
    """Text for a page: no tag, no line break, nothing invisible."""
    plain = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(value))
    return html.escape(plain)


def listed(runs: Sequence[Run], damaged: Sequence[Damaged] = ()) -> HTML:
    """All runs in a table that is filtered and sorted in the browser; without its script it is a table still."""
    head = "".join(
        f'<th scope="col"><button type="button" data-largest="{int(largest)}">{title}</button></th>'
        for title, largest in COLUMNS.items()
    )
    body = "\n".join(_row(run, row) for run, row in zip(runs, registry.table(runs).to_dict("records"), strict=True))
    faults = "".join(f"<li>{escaped(run.fault)}</li>" for run in damaged)
    script = resources.files("complexity_control").joinpath("registry.js").read_text()
    style = resources.files("complexity_control").joinpath("registry.css").read_text()
    return HTML(f"""<div class="registry">
<style>{style}</style>
<label hidden>Filter: <input type="search" placeholder="hidden=50, or a_direct quick" autocomplete="off"></label>
<output aria-live="polite">{tables.count(len(runs), "run")}</output>
<div class="rows" tabindex="0" role="region" aria-label="All runs"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
{f"<p>Damaged, and so not listed:</p><ul>{faults}</ul>" if faults else ""}
<script>{script}</script>
</div>""")


def _row(run: Run, row: Mapping[str, Any]) -> str:
    p = run.parameters
    changed = escaped(row["changes"]) or ("<em>the book’s own run</em>" if row["book"] else "nothing")
    if not run.current:
        changed += " <small>(by earlier code)</small>"
    dataset = _word("dataset", p.dataset)
    cells = [
        (row["run"], f'<a href="runs/{row["run"]}.html">{row["run"]}</a>'),
        (p.method, f"({p.method}) {reported.METHODS[p.method]}"),
        (row["changes"], changed),
        (f"{dataset} {p.profile}", escaped(dataset) + (" <small>quick</small>" * (p.profile == "quick"))),
        (row["accuracy"], f"{row['accuracy']:.4f} <small>λ = {row['lam']:g}</small>"),
        (row["minutes"], f"{row['minutes']:,.1f}"),
        (row["finished"], f"{row['finished'][:16].replace('T', ' ')}"),
    ]
    given = [f"{name}={_word(name, value)}" for name, value in run.receipt["parameters"].items()]
    searched = escaped(" ".join([row["run"], reported.METHODS[p.method], *given, "paper" * row["book"]]).lower())
    inner = "".join(f'<td data-value="{escaped(value)}">{shown}</td>' for value, shown in cells)
    return f'<tr data-words="{searched}">{inner}</tr>'


def _word(name: str, value: object) -> str:
    """A parameter's value as it is typed; a folder by its last name alone: where it lies is nobody's business."""
    return Path(str(value)).name if name == "dataset" else registry.word(value)


def write(folder: Path, runs: Sequence[Run]) -> None:
    """A page and a figure for each run, `<run>.md` and `<run>.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    books = {run.parameters.method: run for run in runs if registry.is_books(run)}
    for run in runs:
        book = comparable(run, books.get(run.parameters.method))
        figures.pruning_figure(run, book).savefig(folder / f"{run.id}.svg", metadata={"Date": None})
        (folder / f"{run.id}.md").write_text(page(run, book))


def comparable(run: Run, book: Run | None) -> Run | None:
    """The book's run of the same method, if it is another run that saw the same digits: only then they compare."""
    if book is None or book.id == run.id or book.receipt["data"] != run.receipt["data"]:
        return None
    return book


def page(run: Run, book: Run | None) -> str:
    """A run's page in Markdown: what was changed, figure and metrics beside the book's run, receipt and command."""
    p, own = run.parameters, registry.is_books(run)
    changed = registry.changes(p)
    beside = ", the book's run in grey behind" if book else ""
    parts = [
        "---\norphan: true\n---",
        f"# {run.id}",
        f"[All runs](../reruns.ipynb) · method [({p.method}) {reported.METHODS[p.method]}](../{p.chapter}.ipynb)",
    ]
    if tables.mark(run):
        parts.append(f"**{tables.mark(run)}.**")
    if not run.current:
        parts.append(
            "Made by earlier code, or with other digits under the dataset's name: run again, it is another run."
        )
    if own:
        parts.append("The book's own run: nothing is changed, and the paper's tables are held against it.")
    elif changed:
        usual = defaults(p.chapter)
        rows = [[name, *(escaped(_word(name, v)) for v in (value, usual[name]))] for name, value in changed.items()]
        parts += ["## Changed", _table("Changed", ["parameter", "here", "in the chapter"], rows)]
    if not book and not own:
        parts.append(_why_alone(run))
    every = [[name, escaped(_word(name, value))] for name, value in run.receipt["parameters"].items()]
    parts += [
        "## Under pruning",
        f"```{{image}} {run.id}.svg\n:class: artefact\n:alt: {words.pruning(run.curves)}\n```",
        f"Mean over {tables.count(len(p.seeds), 'seed')}, and a band of one standard deviation{beside}.",
        "## Metrics",
        metrics(run, run if own else book),
        "## Again",
        _fenced(command(p)),
        "## Receipt",
        _table("Receipt", ["", ""], [[name, escaped(value)] for name, value in _receipt(run).items()]),
        "<details><summary>All parameters, and the sums of the files</summary>\n"
        + _table("All parameters", ["parameter", "value"], every)
        + "\n"
        + _table("Files", ["file", "sha256"], [[*map(escaped, pair)] for pair in run.receipt["artefacts"].items()])
        + "\n</details>",
    ]
    return "\n\n".join(parts) + "\n"


def command(p: Parameters) -> str:
    """What to type to make the run again, beside the folder of its digits if it has its own."""
    return registry.command(p.model_copy(update={"dataset": _word("dataset", p.dataset)}))


def _why_alone(run: Run) -> str:
    if run.parameters.profile != "paper" or run.receipt["data"]["train"] < 60_000:
        return "No comparison with the paper: this run saw other digits, or fewer."
    return "No comparison with the paper: the book has no run of this method on the same digits."


def metrics(run: Run, book: Run | None) -> str:
    """Mean ± standard deviation over seeds, by lambda; beside a run of the same digits, and what the paper printed."""
    grouped = run.metrics.groupby("lam")[list(SHOWN)].agg(["mean", "std"])
    other = book.metrics.groupby("lam")[list(SHOWN)].agg(["mean", "std"]) if book else None
    printed = reported.tables()
    printed = printed[printed["method"] == run.parameters.method].pivot_table("value", "lam", "quantity")
    rows = []
    for lam in grouped.index:
        cells = []
        for name in SHOWN:
            lines = [_spread(name, grouped.loc[lam, name])]
            if book is not None and other is not None and book.id != run.id and lam in other.index:
                lines.append(f"<small>book {_spread(name, other.loc[lam, name])}</small>")
            if book is not None and lam in printed.index and name in printed:
                lines.append(f"<small>paper {tables.spread(name, printed.loc[lam, name])}</small>")
            cells.append("<br>".join(lines))
        rows.append([f"{lam:g}", *cells])
    # a mean and its deviation stay on one line
    titles = [f'<span style="white-space: normal">{tables.TITLES[name]}</span>' for name in SHOWN]
    return f'<div style="white-space: nowrap; font-size: 0.85em">\n{_table("Metrics", ["λ", *titles], rows)}\n</div>'


def _spread(quantity: str, row: "pd.Series[float]") -> str:
    return tables.spread(quantity, row["mean"], row["std"])


def _receipt(run: Run) -> dict[str, object]:
    told, data = registry.environment(run), run.receipt["data"]
    digits = f"{data['train']:,} to train, {data['test']:,} to test, sha256 {data['sha256'][:12]}"
    told["git commit"] = f"{told['git commit']}{', with changes' if told.pop('git dirty') else ''}"
    return {"digits": digits} | {name: value for name, value in told.items() if value is not None}


def _table(label: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of cells that are HTML, in one block, which Markdown doesn't read.

    One wider than the page scrolls, by the keyboard too.
    """
    titles = f"<thead><tr>{''.join(f'<th>{title}</th>' for title in head)}</tr></thead>" if any(head) else ""
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f'<table class="table">{titles}<tbody>\n{body}\n</tbody></table>'
    return f'<div style="overflow-x: auto" tabindex="0" role="region" aria-label="{label}">{table}</div>'


def _fenced(text: str) -> str:
    """A code block that the text can't end."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}bash\n{' '.join(text.split())}\n{fence}"
