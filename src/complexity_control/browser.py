"""The pages in Chromium: one PDF of the book, screenshots to look through, and what the tests drive."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfWriter
from pypdf.generic import NameObject, TextStringObject

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "no Chromium is found; on Debian and Ubuntu `apt install chromium` brings it, or name one in CHROMIUM"
WIDTHS = {"wide": 1400, "narrow": 390}  # pixels
THEMES = ("light", "dark")
HEADINGS = """[...document.querySelectorAll("h1, h2, h3, h4, h5, h6, [role=heading]")]
    .filter((heading) => heading.checkVisibility())
    .map((heading) => {
        const copy = heading.cloneNode(true);
        copy.querySelectorAll(".headerlink, mjx-assistive-mml").forEach((part) => part.remove());
        return copy.textContent.trim();
    })"""


def find() -> str | None:
    """The path of a Chromium: the one named in CHROMIUM, or the first on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def started() -> Iterator[Browser]:
    """A Chromium without a window.

    Raises: FileNotFoundError if there is none.
    """
    path = find()
    if path is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        # in a container Chromium has no right to a sandbox of its own; it opens only what was built here
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def settle(page: Page) -> None:
    """Wait until a page is as a reader sees it: equations typeset, explorer computed."""
    page.wait_for_load_state("load")
    page.evaluate("window.MathJax?.startup?.promise ?? null")
    if page.locator("#explorer").count():
        page.wait_for_selector("#explorer[data-ready]", state="attached")


def show(page: Page, theme: str) -> None:
    """Switch a page to light or dark, as its own button does."""
    page.evaluate("theme => Object.assign(document.documentElement.dataset, {mode: theme, theme})", theme)
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")  # colours change at once


@click.group()
def main() -> None:
    """Pages in Chromium."""


@main.command()
@click.argument("page", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def pdf(page: Path, out: Path) -> None:
    """Print the whole book on one page of HTML as a PDF with an outline; say so in a line if there's no Chromium."""
    if find() is None:
        click.echo(f"No PDF of the book: {MISSING}")
        return
    style = "font: 8px sans-serif; width: 100%; margin: 0 15mm; color: #555;"
    with started() as browser:
        tab = browser.new_page()
        tab.goto(page.resolve().as_uri())
        settle(tab)
        printed = tab.pdf(
            format="A4",
            scale=0.75,  # of the size on a screen: 60 signs a line are few on paper
            margin={"top": "20mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
            print_background=True,
            display_header_footer=True,
            header_template="<div></div>",  # Chromium's own would be the date and the title
            footer_template=f'<div style="{style} text-align: right"><span class="pageNumber"></span> / '
            '<span class="totalPages"></span></div>',
            outline=True,
            tagged=True,
        )
        tab.emulate_media(media="print")
        headings = tab.evaluate(HEADINGS)
    _titled(printed, headings).write(out)


def _titled(printed: bytes, headings: list[str]) -> PdfWriter:
    """The PDF with an outline as the headings are; Chromium says one twice if it moved to the next page."""
    book = PdfWriter(clone_from=io.BytesIO(printed))
    titles = iter(headings)
    outline: Any = book.root_object["/Outlines"]
    waiting = [outline["/First"]]
    while waiting:
        entry = waiting.pop().get_object()
        title = next(titles)
        if entry["/Title"].replace(" ", "")[:2] != title.replace(" ", "")[:2]:
            raise ValueError(f"the outline of the PDF has {entry['/Title']!r} where the page has the heading {title!r}")
        entry[NameObject("/Title")] = TextStringObject(title)
        waiting += [entry[part] for part in ("/Next", "/First") if part in entry]
    return book


@main.command()
@click.argument("site", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def screenshots(site: Path, out: Path) -> None:
    """Take every page of a built site, of the runs' pages the first, wide and narrow, light and dark."""
    out.mkdir(parents=True, exist_ok=True)
    pages = [*sorted(site.glob("*.html")), *sorted(site.glob("runs/*.html"))[:1]]
    with started() as browser:
        for name, width in WIDTHS.items():
            tab = browser.new_page(viewport={"width": width, "height": 900})
            for page in pages:
                tab.goto(page.resolve().as_uri())
                settle(tab)
                for theme in THEMES:
                    show(tab, theme)
                    tab.screenshot(path=out / f"{page.stem}-{name}-{theme}.png", full_page=True)
            tab.close()
    click.echo(f"{len(list(out.glob('*.png')))} pictures in {out}")


if __name__ == "__main__":
    main()
