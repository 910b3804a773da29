"""The registry page, a page for each run, and the runs behind the tables. What a user typed is escaped."""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from ccbook.book import builder, plots
from ccbook.book.formats import TITLES, mark, metric, summary, typed
from ccbook.chapters import METHODS, defaults
from ccbook.compare import printed
from ccbook.records import history, store
from ccbook.records.run import Run
from ccbook.records.sweeps import Sweep
from ccbook.wording import count

METRICS = ["accuracy", "accuracy_curve_mean", "stability", "kl", "evidence"]  # on a run's page
COLUMNS = ["run", "method", "changed", "data", "best accuracy", "minutes", "finished"]  # of the registry
LARGEST_FIRST = ("best accuracy", "minutes", "finished")  # by a first click; the others smallest first


def escaped(value: object) -> str:
    """Text for a page: no tag, no line break, nothing invisible."""
    return html.escape("".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(value)))


def registry(runs: Sequence[Run], faults: Sequence[str] = ()) -> HTML:
    """All runs in a table that is filtered and sorted in the browser; without its script it is a table still."""
    head = "".join(
        f'<th scope="col"><button type="button" data-largest="{int(title in LARGEST_FIRST)}">{title}</button></th>'
        for title in COLUMNS
    )
    home = f"{store.home()}/"  # on a page, where the record lies is nobody's business
    body = "\n".join(_row(run, row) for run, row in zip(runs, history.listing(runs).to_dict("records"), strict=True))
    damaged = "".join(f"<li>{escaped(fault.replace(home, ''))}</li>" for fault in faults)
    style, script = (Path(__file__).with_suffix(kind).read_text() for kind in (".css", ".js"))
    return HTML(f"""<div class="registry">
<style>{style}</style>
<label hidden>Filter: <input type="search" placeholder="hidden=50, or a_direct quick" autocomplete="off"></label>
<output aria-live="polite">{count(len(runs), "run")}</output>
<div class="rows" tabindex="0" role="region" aria-label="All runs"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
{f"<p>Damaged, and so not listed:</p><ul>{damaged}</ul>" if damaged else ""}
<script>{script}</script>
</div>""")


def _row(run: Run, row: Mapping[str, Any]) -> str:
    """A run in the registry: for each column what is sorted by and what is shown, and the words that are searched."""
    p, method, dataset = run.parameters, str(METHODS[row["method"]]), typed("dataset", row["dataset"])
    changed = escaped(row["changes"]) or ("<em>the book’s own run</em>" if row["book"] else "nothing")
    cells = [
        (row["run"], f'<a href="runs/{row["run"]}.html">{row["run"]}</a>'),
        (p.method, method),
        (row["changes"], changed + " <small>(by earlier code)</small>" * (not run.current)),
        (f"{dataset} {p.profile}", escaped(dataset) + " <small>quick</small>" * (p.profile == "quick")),
        (row["accuracy"], f"{row['accuracy']:.4f} <small>λ = {row['lam']:g}</small>"),
        (row["minutes"], f"{row['minutes']:,.1f}"),
        (row["finished"], f"{row['finished'][:16].replace('T', ' ')}"),
    ]
    values = [f"{name}={typed(name, value)}" for name, value in run.receipt["parameters"].items()]
    words = escaped(" ".join([row["run"], method, *values, "paper" * row["book"]]).lower())
    return f'<tr data-words="{words}">{"".join(f"""<td data-value="{escaped(v)}">{s}</td>""" for v, s in cells)}</tr>'


def write(folder: Path, runs: Sequence[Run], swept: Sequence[Sweep] = ()) -> None:
    """A page and its figures for each run: `<run>.md`, `<run>.svg` and, of its training, `<run>-loss.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    books = {run.parameters.method: run for run in runs if history.is_books(run)}
    for run in runs:
        book = comparable(run, books.get(run.parameters.method))
        plots.pruning_figure(run, book).savefig(folder / f"{run.id}.svg", metadata={"Date": None})
        plots.loss_figure(run).savefig(folder / f"{run.id}-loss.svg", metadata={"Date": None})
        (folder / f"{run.id}.md").write_text(page(run, book, [each for each in swept if run.id in each.runs]))


def comparable(run: Run, book: Run | None) -> Run | None:
    """The book's run of the same method, if it is another run that saw the same digits: only then they compare."""
    same = book and book.id != run.id and book.receipt["data"] == run.receipt["data"]
    return book if same else None


def page(run: Run, book: Run | None, swept: Sequence[Sweep] = ()) -> str:
    """A run's page in Markdown: what was changed, figure and metrics beside the book's run, receipt and command."""
    p, own, changed = run.parameters, history.is_books(run), history.changes(run.parameters)
    parts = ["---\norphan: true\n---", f"# {run.id}",
             f"[All runs](../reruns.ipynb) · method [{METHODS[p.method]}](../{p.chapter}.ipynb)"]  # fmt: skip
    parts += [f"Of the sweep [{each.file}]({each.name}.md)." for each in swept]
    parts += [f"**{mark(run)}.**"] * bool(mark(run))
    if not run.current:
        parts.append("Of earlier code, or of other digits under the dataset's name: run again, it is another run.")
    if own:
        compared = ", and the paper's tables are compared with it" * METHODS[p.method].papers
        parts.append(f"The book's own run: nothing is changed{compared}.")
    elif changed:
        usual = defaults(p.chapter)
        rows = [[name, typed(name, value), typed(name, usual[name])] for name, value in changed.items()]
        parts.append("## Changed\n\n" + table("Changed", rows, ["parameter", "here", "in the chapter"]))
    if not book and not own:
        few = p.profile != "paper" or run.receipt["data"]["train"] < 60_000
        reason = "this run saw other digits, or fewer" if few else "the book has no run of this method on these digits"
        parts.append(f"No comparison with the paper: {reason}.")
    behind = ", the book's run in grey behind" if book else ""
    values = [[name, typed(name, value)] for name, value in run.receipt["parameters"].items()]
    parameters = table("All parameters", values, ["parameter", "value"])
    settled = f"Had the loss settled? {history.settling(run)}.".replace("-", "−")
    losses = run.history.groupby("epoch")["loss"].mean()
    fell = f"Loss against the epoch, mean over all models: {losses.iloc[0]:.3f} to {losses.iloc[-1]:.3f} nats a digit"
    files = table("Files", run.receipt["artefacts"].items(), ["file", "sha256"])
    parts += [
        "## Under pruning",
        f"```{{image}} {run.id}.svg\n:class: artefact\n:alt: {plots.describe_pruning(run.curves)}\n```",
        f"Mean over {count(len(p.seeds), 'seed')}, and a band from the least to the greatest{behind}.",
        "## Metrics",
        metrics(run, run if own else book),
        "## Training",
        f"```{{image}} {run.id}-loss.svg\n:class: artefact\n:alt: {fell}. {settled}\n```",
        settled,
        "## Again",
        fenced(history.command(p, public=True)),
        f'<a href="../{escaped(builder.address(p))}">The command in a form</a>, to change a parameter of it.',
        "## Receipt",
        table("Receipt", _receipt(run).items()),
        f"<details><summary>All parameters, and the sums of the files</summary>\n{parameters}\n{files}\n</details>",
    ]
    return "\n\n".join(parts) + "\n"


def metrics(run: Run, book: Run | None) -> str:
    """Mean ± standard deviation over seeds, by lambda; beside a run of the same digits, and what the paper printed."""
    ours = summary(run)
    others = summary(book) if book and book.id != run.id else ours[:0]
    paper = printed.of_method(run.parameters.method) if book else pd.DataFrame()
    rows = []
    for lam, row in ours[METRICS].iterrows():
        cells = row.to_dict()
        for name in METRICS:
            if lam in others.index:
                cells[name] += f"<br><small>book {others.loc[lam, name]}</small>"
            if lam in paper.index and name in paper:
                cells[name] += f"<br><small>paper {metric(name, paper.loc[lam, name])}</small>"
        rows.append([f"{lam:g}", *cells.values()])
    # a mean and its deviation stay on one line
    titles = [f'<span style="white-space: normal">{TITLES[name]}</span>' for name in METRICS]
    shown = table("Metrics", rows, ["λ", *titles], safe=True)
    return f'<div style="white-space: nowrap; font-size: 0.85em">\n{shown}\n</div>'


def _receipt(run: Run) -> dict[str, object]:
    about, data = history.environment(run), run.receipt["data"]
    digits = f"{data['train']:,} to train, {data['test']:,} to test, sha256 {data['sha256'][:12]}"
    about["git commit"] = f"{about['git commit']}{', with changes' if about.pop('git dirty') else ''}"
    return {"digits": digits} | {name: value for name, value in about.items() if value is not None}


def table(label: str, rows: Any, head: Sequence[str] = (), safe: bool = False) -> str:
    """An HTML table in a block that Markdown doesn't read, scrolled by the keyboard too; safe cells aren't escaped."""
    titles = f"<thead><tr>{''.join(f'<th>{title}</th>' for title in head)}</tr></thead>" if head else ""
    shown = [[str(cell) if safe else escaped(cell) for cell in row] for row in rows]
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in shown)
    drawn = f'<table class="table">{titles}<tbody>\n{body}\n</tbody></table>'
    return f'<div style="overflow-x: auto" tabindex="0" role="region" aria-label="{label}">{drawn}</div>'


def fenced(text: str, language: str = "bash") -> str:
    """A code block that the text can't end; a command stays on one line."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    return f"{fence}{language}\n{' '.join(text.splitlines()) if language == 'bash' else text}\n{fence}"


def behind_tables(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What each of the book's runs was made from and with, a row each."""
    rows = []
    for letter, run in runs.items():
        receipt, git = run.receipt, run.receipt["git"]
        finished = receipt["finished"].replace("T", " ").removesuffix("+00:00") + " UTC"
        commit = (git["commit"] or "unknown")[:10] + " and changes" * bool(git["dirty"])
        digits, seconds = f"{receipt['data']['train']:,}", f"{receipt['seconds']:,.0f}"
        trained = run.metrics["seed"].nunique() if METHODS[letter].is_hypernetwork else len(run.metrics)
        rows.append((str(METHODS[letter]), run.id, trained, digits, seconds, receipt["cores"],
                     receipt["processor"], finished, commit))  # fmt: skip
    columns = ["method", "run", "trained", "digits", "seconds", "cores", "machine", "finished", "commit"]
    return pd.DataFrame(rows, columns=columns).set_index("method")


def versions(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Versions of Python and of the libraries behind the numbers; several in a cell if the runs differ."""
    found = pd.DataFrame([run.receipt["versions"] for run in runs.values()])
    return found.agg(lambda column: ", ".join(sorted(set(column.dropna())))).rename_axis("library").to_frame("version")
