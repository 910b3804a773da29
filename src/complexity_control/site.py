"""A Sphinx extension: the site as a folder that needs no network, with figures and tables that carry their receipts."""

import html
import json
import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.core.render import MimeData, NbElementRenderer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from complexity_control.artefacts import MIME, checksum

# the parts of MathJax that the book's equations need; all of it is many times larger
MATHJAX = (
    "startup.js",
    "core.js",
    "input/tex-base.js",
    "input/tex/extensions/ams.js",
    "input/tex/extensions/boldsymbol.js",
    "output/chtml.js",
    "output/chtml/fonts/tex.js",
    "output/chtml/fonts/woff-v2",
    "a11y/assistive-mml.js",
)
MATHJAX_CONFIG = {
    "loader": {
        "load": [
            "core",
            "input/tex-base",
            "[tex]/ams",
            "[tex]/boldsymbol",
            "output/chtml",
            "a11y/assistive-mml",
        ]
    },
    "tex": {"packages": {"[+]": ["ams", "boldsymbol"]}},
    "options": {"enableAssistiveMml": True},
}


class numbered_table(nodes.figure):  # noqa: N801 - docutils derives the name of its method from it
    """A table with a caption and a number; Sphinx numbers tables of its own only."""


class ArtefactRenderer:
    """Makes nodes of what artefacts.py put into a notebook. myst-nb finds it by its entry point in pyproject.toml."""

    mime_priority_overrides: ClassVar = [("*", MIME, 1)]

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: bool) -> list[nodes.Element] | None:
        """myst-nb's interface: the nodes of an output, or None for one that isn't ours."""
        if inline or data.mime_type != MIME:
            return None
        content = dict(data.content)
        environment = renderer.renderer.sphinx_env
        return [_shown(Path(environment.srcdir), renderer.renderer.document, content, content["name"])]


class ArtefactDirective(SphinxDirective):
    """```{artefact} results-figure1```: a figure or table of a notebook, on another page too, under its own label."""

    required_arguments = 1
    option_spec: ClassVar = {"name": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """docutils' interface."""
        (name,) = self.arguments
        notebook = Path(self.env.srcdir) / f"{name.partition('-')[0]}.ipynb"
        self.env.note_dependency(str(notebook))
        outputs = [out for cell in json.loads(notebook.read_text())["cells"] for out in cell.get("outputs", [])]
        for output in outputs:
            content = output.get("data", {}).get(MIME)
            if content and content["name"] == name:
                return [_shown(Path(self.env.srcdir), self.state.document, content, self.options["name"])]
        raise self.error(f"{notebook.name} shows no figure or table {name!r}")


def _shown(source: Path, document: nodes.document, content: dict[str, Any], label: str) -> nodes.Element:
    """A figure or table with its caption, its label, and its receipt below; its files go into the book's source.

    Raises: ExtensionError if a file isn't the one of its receipt.
    """
    (source / "artefacts").mkdir(exist_ok=True)
    for name, text in content["files"].items():
        if checksum(text) != content["receipt"]["sha256"].get(name):
            raise ExtensionError(
                f"{name} is not the file of its receipt: the notebook was changed after it ran. "
                f"Make it again: {content['receipt']['command']}"
            )
        (source / "artefacts" / name).write_bytes(text.encode())
    caption = nodes.caption("", content["caption"])
    receipt = _receipt(content["receipt"])
    if content["kind"] == "figure":
        picture = nodes.image(uri=f"/artefacts/{content['name']}.svg", alt=content["alt"])
        shown: nodes.Element = nodes.figure("", picture, caption, receipt, classes=["artefact"])
    else:
        region = html.escape(content["caption"], quote=True)
        # a table wider than the page scrolls, by the keyboard too
        scrolling = (
            f'<div class="table-scroll" tabindex="0" role="region" aria-label="{region}">{content["html"]}</div>'
        )
        shown = numbered_table("", caption, nodes.raw("", scrolling, format="html"), receipt, classes=["artefact"])
    shown["names"].append(label)
    document.note_explicit_target(shown, shown)
    return shown


def _receipt(receipt: dict[str, Any]) -> nodes.Element:
    lines = [
        f"Run {run['id']}: commit {(run['commit'] or 'unknown')[:10]}, {run['seconds']:,.0f} s"
        for run in receipt["runs"]
    ]
    inside = nodes.container(classes=["receipt"])
    inside += nodes.raw("", "<details><summary>Receipt</summary>", format="html")
    if lines:
        inside += nodes.bullet_list("", *[nodes.list_item("", nodes.paragraph("", line)) for line in lines])
    files = nodes.paragraph("", "Made again by ")
    files += nodes.literal("", receipt["command"])
    files += nodes.Text(". Files: ")
    for k, (name, sha256) in enumerate(receipt["sha256"].items()):
        if k:
            files += nodes.Text(", ")
        files += addnodes.download_reference("", name, reftarget=f"/artefacts/{name}", refexplicit=True)
        files += nodes.Text(f" (sha256 {sha256[:12]}…)")
    inside += files
    inside += nodes.raw("", "</details>", format="html")
    return inside


def _visit_table(translator: HTML5Translator, node: nodes.Element) -> None:
    translator.visit_figure(node)


def _depart_table(translator: HTML5Translator, node: nodes.Element) -> None:
    translator.depart_figure(node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this with the name of the extension in _config.yml."""
    app.add_enumerable_node(numbered_table, "table", html=(_visit_table, _depart_table))
    app.add_directive("artefact", ArtefactDirective)
    app.connect("config-inited", _configure)
    app.connect("source-read", _folded)
    app.connect("html-page-context", _fewer_scripts, priority=900)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _configure(app: Sphinx, config: Any) -> None:
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config = MATHJAX_CONFIG


def _folded(app: Sphinx, page: str, source: list[str]) -> None:
    """Fold the code that a reader can do without: the parameters, papermill's own, and calls that show a result."""
    if not app.env.doc2path(page).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        tags = set(cell["metadata"].get("tags", []))
        folds = {
            "parameters": "Parameters, with their defaults",
            "injected-parameters": "Parameters given to this page",
        }
        prompts = [prompt for tag, prompt in folds.items() if tag in tags]
        if "".join(cell["source"]).startswith(("artefacts.", "speed.", "tables.")):
            prompts.append("Code")
        if cell["cell_type"] == "code" and prompts:
            cell["metadata"]["tags"] = sorted(tags | {"hide-input"})
            cell["metadata"]["mystnb"] = {"code_prompt_show": prompts[0], "code_prompt_hide": prompts[0]}
    source[0] = json.dumps(notebook)


def _fewer_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Leave out what a page doesn't need.

    That is thebe, which runs code on a server of others, and the explorer's scripts, which its own page asks for.
    """
    for kind in ("script_files", "css_files"):
        context[kind] = [
            file
            for file in context[kind]
            if not re.search("thebe|explorer/", f"{getattr(file, 'filename', file)} {getattr(file, 'attributes', {})}")
        ]


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    library = resources.files("mathjax") / "static" / "mathjax" / "es5"
    with resources.as_file(library) as source:
        for name in MATHJAX:
            target = static / "mathjax" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (source / name).is_dir():
                shutil.copytree(source / name, target, dirs_exist_ok=True)
            else:
                shutil.copy(source / name, target)
    pages = [*Path(app.outdir).glob("*.html"), *Path(app.outdir).glob("runs/*.html")]
    names = {name for page in pages for name in re.findall(r"\bfa-([a-z-]+)", page.read_text())} | {"xmark"}
    (static / "icons.css").write_text(_icons((static / "scripts" / "fontawesome.js").read_text(), names))
    for page in pages:
        page.write_text(_lightened(page.read_text()))
    for unused in [*static.rglob("*.map"), *static.rglob("*thebe*"), static / "scripts" / "fontawesome.js"]:
        unused.unlink()


def _lightened(html: str) -> str:
    """A page with valid roles, whose icons are a style sheet of a few kB and no script with all of Font Awesome."""
    html, replaced = re.subn(
        r'<script defer src="(\S*_static/)scripts/fontawesome\.js[^>]*></script>',
        r'<link rel="stylesheet" href="\1icons.css" />',
        html,
    )
    # docutils marks an entry of a bibliography with a role that ARIA has given up
    html = html.replace('role="doc-biblioentry"', 'role="listitem"')
    if not replaced and "fontawesome.js" in html:
        raise ExtensionError("the theme loads its icons in another way than this extension knows; mend site.py")
    return html


def _icons(library: str, names: set[str]) -> str:
    """The icons with these names as masks, so that they have the colour of the text."""
    rules = [
        ".fa-solid::before, .fas::before { content: ''; display: inline-block; width: 1em; height: 1em;"
        " vertical-align: -0.125em; background: currentColor; -webkit-mask: var(--icon) center / contain no-repeat;"
        " mask: var(--icon) center / contain no-repeat; }"
    ]
    for name in sorted(names):
        # a name stands there once for each style; the last is the solid one
        found = re.findall(rf'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"\]', library)
        if found:
            width, height, path = found[-1]
            picture = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'><path d='{path}'/></svg>"
            encoded = picture.replace("<", "%3C").replace(">", "%3E")
            rules.append(f'.fa-{name} {{ --icon: url("data:image/svg+xml,{encoded}"); }}')
    return "\n".join(rules) + "\n"
