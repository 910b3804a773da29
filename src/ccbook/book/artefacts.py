"""Figures and tables as a page shows them: with a caption, words for whoever can't see them, and their receipt."""

import hashlib
import html
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ccbook.records import history
from ccbook.records.run import Run

MIME = "application/vnd.ccbook+json"  # Jupyter doesn't know it, and shows the picture or table beside it


@dataclass(frozen=True)
class Artefact:
    """What a cell shows: in Jupyter the picture or table itself, on the site the MyST and the files of `content`."""

    plain: dict[str, str]  # by mime type
    content: dict[str, Any]  # name, myst, files, their sha256, and the command that makes the page again

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return self.plain | {MIME: self.content}


def figure(name: str, chart: Figure, caption: str, alt: str, rows: pd.DataFrame, runs: Iterable[Run] = ()) -> Artefact:
    """A figure, closed: it is shown once, as the cell's value.

    Args: name, the page's, a hyphen and one of its own, and so the files' and the label's; caption, in Markdown; alt,
        what the picture shows with the numbers that matter; rows, the numbers drawn; runs, those that they come from.
    """
    buffer = io.StringIO()
    chart.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(chart)
    files = {f"{name}.csv": csv(rows), f"{name}.svg": buffer.getvalue()}
    options = f":alt: {json.dumps(alt, ensure_ascii=False)}\n:figclass: artefact"
    content = _content(name, files, runs, f"{{figure}} /artefacts/{name}.svg\n{options}\n\n{caption}")
    return Artefact({"image/svg+xml": buffer.getvalue(), "text/plain": alt}, content)


def table(
    name: str, shown: Styler | pd.DataFrame, caption: str, rows: pd.DataFrame | None = None, runs: Iterable[Run] = ()
) -> Artefact:
    """A table; one wider than the page scrolls, by the keyboard too.

    Args: name and caption, as of a figure; shown, as the page shows it; rows, its numbers, if they aren't `shown`'s.
    """
    styled = shown.style if isinstance(shown, pd.DataFrame) else shown
    drawn = styled.set_uuid(name).to_html()  # pandas would draw a name that is another every time
    if rows is None:
        rows = styled.data.reset_index()  # type: ignore[attr-defined]
    region = f'<div class="table-scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">{drawn}</div>'
    return Artefact({"text/html": drawn, "text/plain": str(rows)}, block(name, region, caption, rows, runs).content)


def block(name: str, drawn: str, caption: str, rows: pd.DataFrame, runs: Iterable[Run] = ()) -> Artefact:
    """What is drawn in HTML, numbered as a table; the arguments as of table()."""
    directive = f"{{html-table}}\n\n{caption}\n\n``````{{raw}} html\n{drawn}\n``````"
    content = _content(name, {f"{name}.csv": csv(rows)}, runs, directive)
    return Artefact({"text/html": drawn, "text/plain": str(rows)}, content)


def command(page: str, runs: Iterable[Run]) -> str:
    """What makes a page again, with the parameters that are not its own defaults."""
    run = next(iter(runs), None)  # a page of several runs gives them all one profile
    if run and run.parameters.chapter == page:
        return f"{history.command(run.parameters, public=True)} --notebook {page}.ipynb"
    usual = {"profile": "paper", "device": "cpu"}
    given = {name: getattr(run.parameters, name) for name in usual} if run else usual
    changed = [f" -p {name} {value}" for name, value in given.items() if value != usual[name]]
    return f"papermill chapters/{page}.ipynb {page}.ipynb{''.join(changed)}"


def checksum(text: str) -> str:
    """sha256 of a file's text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def csv(rows: pd.DataFrame) -> str:
    """A table as a file of the book."""
    # nine digits hold all that float32 training gives, and keep a diff readable
    return rows.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def _content(name: str, files: dict[str, str], runs: Iterable[Run], directive: str) -> dict[str, Any]:
    """The files, their checksums, and the directive with a folded receipt at its end."""
    runs = list(runs)
    made_by = command(name.partition("-")[0], runs)
    sha256 = {file: checksum(text) for file, text in files.items()}
    lines = [f"::::{directive}", "", ":::{dropdown} Receipt", ":class-container: receipt", ""]
    for run in runs:
        commit = run.receipt["git"]["commit"] or "unknown"
        lines.append(f"- Run {run.id}: commit {commit[:10]}, {run.receipt['seconds']:,.0f} s")
    lines += ["", "Made again by", f"```bash\n{made_by}\n```", "Files", ""]
    lines += [f"- {{download}}`{file} </artefacts/{file}>` (sha256 {sha256[file][:12]}…)" for file in files]
    myst = "\n".join([*lines, ":::", "::::", ""])
    return {"name": name, "myst": myst, "files": files, "sha256": sha256, "command": made_by}
