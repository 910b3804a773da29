"""Figures and tables as a page shows them: with a caption, words for whoever can't see them, and their receipt."""

import hashlib
import io
import json
from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from complexity_control.parameters import defaults
from complexity_control.runs import Run

MIME = "application/vnd.complexity-control+json"


class Artefact:
    """What a cell shows: in Jupyter the picture or table itself, on the site what site.py makes of `content`."""

    def __init__(self, plain: dict[str, str], content: dict[str, Any]) -> None:
        self.plain = plain
        self.content = content

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return self.plain | {MIME: self.content}


def figure(
    name: str, picture: Figure, caption: str, alt: str, rows: pd.DataFrame, runs: Iterable[Run] = ()
) -> Artefact:
    """A figure.

    Args: name, the page's, a hyphen and one of its own, and so the files' and the label's; alt, what the picture shows
        with the numbers that matter; rows, the numbers drawn; runs, those that they come from.
    """
    buffer = io.StringIO()
    picture.savefig(buffer, format="svg", metadata={"Date": None})
    files = {f"{name}.csv": csv(rows), f"{name}.svg": buffer.getvalue()}
    content = {"kind": "figure", "alt": alt} | _labelled(name, caption, files, runs)
    return Artefact({"image/svg+xml": buffer.getvalue(), "text/plain": alt}, content)


def table(
    name: str, shown: Styler | pd.DataFrame, caption: str, rows: pd.DataFrame | None = None, runs: Iterable[Run] = ()
) -> Artefact:
    """A table.

    Args: name, as of a figure; shown, as the page shows it; rows, its numbers, if `shown` isn't the numbers themselves.
    """
    styled = shown.style if isinstance(shown, pd.DataFrame) else shown
    html = styled.set_uuid(name).to_html()  # pandas would draw a name that is another every time
    if rows is None:
        rows = styled.data.reset_index()  # type: ignore[attr-defined]
    content = {"kind": "table", "html": html} | _labelled(name, caption, {f"{name}.csv": csv(rows)}, runs)
    return Artefact({"text/html": html, "text/plain": str(rows)}, content)


def command(page: str, runs: Iterable[Run]) -> str:
    """What makes a page again, with the parameters that are not its own defaults."""
    words = ["papermill", f"chapters/{page}.ipynb", f"{page}.ipynb"]
    for run in runs:
        given = run.receipt["parameters"]
        if given["chapter"] == page:
            words += [
                f"-p {key} '{json.dumps(given[key])}'" if isinstance(given[key], list) else f"-p {key} {given[key]}"
                for key, default in defaults(page).items()
                if key != "force" and given[key] != default
            ]
        elif given["profile"] != "paper":
            words += ["-p profile", given["profile"]]
        break  # a page of several runs gives them all one profile
    return " ".join(words)


def checksum(text: str) -> str:
    """sha256 of a file's text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def csv(rows: pd.DataFrame) -> str:
    """A table as a file of the book."""
    # nine digits hold all that float32 training gives, and keep a diff readable
    return rows.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def _labelled(name: str, caption: str, files: dict[str, str], runs: Iterable[Run]) -> dict[str, Any]:
    runs = list(runs)
    receipt = {
        "runs": [
            {"id": run.id, "commit": run.receipt["git"]["commit"], "seconds": run.receipt["seconds"]} for run in runs
        ],
        "command": command(name.partition("-")[0], runs),
        "sha256": {file: checksum(text) for file, text in files.items()},
    }
    return {"name": name, "caption": caption, "files": files, "receipt": receipt}
