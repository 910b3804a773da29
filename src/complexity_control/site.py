"""A Sphinx extension: the site as a folder that needs no network, with figures and tables that carry their receipts."""

import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

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
            "output/chtml/fonts/tex.js",
            "a11y/assistive-mml",
        ]
    },
    "tex": {"packages": {"[+]": ["ams", "boldsymbol"]}},
    "options": {"enableAssistiveMml": True},
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this with the name of the extension in _config.yml."""
    app.connect("config-inited", _configure)
    app.connect("html-page-context", _without_live_code, priority=900)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _configure(app: Sphinx, config: Any) -> None:
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config = MATHJAX_CONFIG


def _without_live_code(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Leave out the scripts that run code on a server of others; the book's cells run with papermill."""
    context["script_files"] = [
        file
        for file in context["script_files"]
        if "thebe" not in f"{getattr(file, 'filename', file)} {getattr(file, 'attributes', {}).get('body', '')}"
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
    pages = sorted(Path(app.outdir).glob("*.html"))
    names = {name for page in pages for name in re.findall(r"\bfa-([a-z-]+)", page.read_text())} | {"xmark"}
    (static / "icons.css").write_text(_icons((static / "scripts" / "fontawesome.js").read_text(), names))
    for page in pages:
        page.write_text(_lightened(page.read_text()))
    for unused in [*static.rglob("*.map"), *static.rglob("*thebe*"), static / "scripts" / "fontawesome.js"]:
        unused.unlink()


def _lightened(html: str) -> str:
    """A page whose icons are a style sheet of a few kB, where the theme's script with all of Font Awesome has 1.5 MB."""
    html, replaced = re.subn(
        r'<script defer src="(\S*_static/)scripts/fontawesome\.js[^>]*></script>',
        r'<link rel="stylesheet" href="\1icons.css" />',
        html,
    )
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
