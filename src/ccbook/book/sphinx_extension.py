"""A Sphinx extension: figures and tables come out of the notebooks, and cells that only show them fold their code."""

import json
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from markupsafe import Markup
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from ccbook import book, citation
from ccbook.book.artefacts import MIME, checksum

# what a page does to show its numbers: it imports the book's modules and calls them
SHOWS = re.compile(rf"from ccbook\.book |(\w+ = )?({'|'.join(m.name for m in pkgutil.iter_modules(book.__path__))})\.")


class html_table(nodes.figure):  # noqa: N801 - docutils derives the name of its method from it
    """A table with a caption and a number; Sphinx numbers tables of its own only."""


class HtmlTable(SphinxDirective):
    """A numbered table whose cells are HTML, as pandas styles it; its first paragraph is the caption."""

    has_content = True
    option_spec: ClassVar = {"name": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """docutils' interface."""
        table = html_table("", classes=["artefact"])
        self.state.nested_parse(self.content, self.content_offset, table)
        table[0] = nodes.caption("", "", *table[0].children)
        self.add_name(table)
        return [table]


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this with the name of the extension in _config.yml."""
    app.add_enumerable_node(html_table, "table", html=(HTML5Translator.visit_figure, HTML5Translator.depart_figure))
    app.add_directive("html-table", HtmlTable)
    app.connect("config-inited", _announce)
    app.connect("env-before-read-docs", _unpack)
    app.connect("source-read", _prepare)
    app.connect("html-page-context", _correct)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _announce(app: Sphinx, config: Any) -> None:
    """Put a banner on each page, from the environment: what it says depends on the profile that is built."""
    config.html_theme_options["announcement"] = os.environ.get("CCBOOK_BANNER", "")


def _unpack(app: Sphinx, environment: Any, pages: list[str]) -> None:
    """Write the figures' and tables' files into the book's source, and `artefacts/<name>.md` for other pages' use."""
    folder = Path(app.srcdir) / "artefacts"
    folder.mkdir(exist_ok=True)
    for notebook in (Path(environment.doc2path(page)) for page in pages):
        if notebook.suffix == ".ipynb":
            for output in _outputs(json.loads(notebook.read_text())):
                write(folder, output[MIME])


def write(folder: Path, artefact: dict[str, Any]) -> None:
    """Write an artefact's files into a folder; raises ExtensionError if a file isn't the one of its receipt."""
    for name, text in artefact["files"].items():
        if checksum(text) != artefact["sha256"].get(name):
            fault = f"{name} is not the file of its receipt: the notebook was changed after it ran"
            raise ExtensionError(f"{fault}. Make it again: {artefact['command']}")
        (folder / name).write_bytes(text.encode())
    (folder / f"{artefact['name']}.md").write_text(artefact["myst"])


def _outputs(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the cells show, by mime type, where it is one of our figures and tables."""
    outputs = (output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", []))
    return (output for output in outputs if MIME in output)


def _prepare(app: Sphinx, page: str, source: list[str]) -> None:
    """Show figures and tables as MyST, and fold parameters and the calls of the book's modules."""
    if not app.env.doc2path(page).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for output in _outputs(notebook):
        artefact = output[MIME]
        directive, rest = artefact["myst"].split("\n", 1)
        output.clear()
        output["text/markdown"] = f"{directive}\n:name: {artefact['name']}\n{rest}"
    defaults: dict[str, Any] = {}
    for cell in [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]:
        tags, code = cell["metadata"].get("tags", []), "".join(cell["source"])
        own = cell["metadata"].get("mystnb", {}).get("code_prompt_show")  # of a cell that is folded with its output
        prompt = own or ("Code" if "hide-input" in tags or SHOWS.match(code) else None)
        if "parameters" in tags:
            defaults, prompt = cell, "Parameters"
        elif "injected-parameters" in tags:  # papermill's; in the same fold
            given = code.replace("# Parameters", "# given to this page")
            defaults["source"] = "".join(defaults["source"]) + f"\n\n{given}"
            notebook["cells"].remove(cell)
        if prompt:
            cell["metadata"]["tags"] = [*tags, "hide-input"]
            cell["metadata"]["mystnb"] = {"code_prompt_show": prompt, "code_prompt_hide": prompt}
    source[0] = json.dumps(notebook)


def _correct(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Say how to cite the page, and give a bibliography's entries a role that ARIA still has, not docutils'."""
    if "body" in context:
        title = "" if page == app.config.root_doc else re.sub(r"^[\d.]+\s", "", Markup(context["title"]).striptags())
        body = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
        context["body"] = body + citation.box(title)
        context["metatags"] += citation.meta(title)
