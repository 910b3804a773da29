"""The pages in Chromium: one PDF of the book, screenshots to look through, and what the tests drive."""

import io
import itertools
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

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "no Chromium is found; on Debian and Ubuntu `apt install chromium` brings it, or name one in CHROMIUM"
WIDTHS = {"wide": 1400, "narrow": 390}  # pixels
THEMES = ("light", "dark")
SCALE = 0.75  # of the size on a screen: 60 characters a line are few on paper
MARGINS: Any = {"top": "20mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}


def find() -> str | None:
    """The path of a Chromium: the one named in CHROMIUM, if it is there, or the first on the path."""
    return next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *PROGRAMS))), None)


@contextmanager
def started() -> Iterator[Browser]:
    """A Chromium without a window; raises FileNotFoundError if there is none."""
    if (path := find()) is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        # in a container Chromium has no right to a sandbox of its own; it opens only what was built here
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def settle(page: Page) -> None:
    """Wait until a page is as a reader sees it: equations typeset, explorer computed."""
    page.evaluate("window.MathJax?.startup?.promise ?? null")
    page.wait_for_function("!document.querySelector('#explorer:not([data-ready])')")


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
    with started() as browser:
        tab = browser.new_page()
        tab.goto(page.resolve().as_uri())
        settle(tab)
        # on paper nothing unfolds: numbers and the functions beside the equations are printed, receipts are not
        folds = "details:is(.sd-dropdown:not(.receipt), .numbers, .hide:has(figure:not(#results-cells)))"
        tab.evaluate("folds => document.querySelectorAll(folds).forEach((fold) => (fold.open = true))", folds)
        printed = tab.pdf(format="A4", scale=SCALE, margin=MARGINS, print_background=True, outline=True, tagged=True)
        tab.emulate_media(media="print")
        tab.evaluate("document.querySelectorAll('.headerlink, mjx-assistive-mml').forEach((part) => part.remove())")
        headings = tab.locator(":is(h1, h2, h3, h4, h5, h6, [role=heading]):visible").all_text_contents()
    book = PdfWriter(clone_from=io.BytesIO(printed))
    outline: Any = book.root_object["/Outlines"]
    # Chromium says a heading twice if it moved to the next page
    for entry, heading in zip(_entries(outline["/First"]), headings, strict=True):
        entry[NameObject("/Title")] = TextStringObject(heading.strip())
    book.write(out)


def _entries(first: Any) -> Iterator[Any]:
    """An entry of an outline, those below it and those after it."""
    yield first.get_object()
    for part in ("/First", "/Next"):
        if part in first:
            yield from _entries(first[part])


@main.command()
@click.argument("site", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def screenshots(site: Path, out: Path) -> None:
    """Take every page of a built site, of the runs' pages the first, wide and narrow, light and dark."""
    pages = [*sorted(site.glob("*.html")), *sorted(site.glob("runs/*.html"))[:1]]
    with started() as browser:
        tab = browser.new_page()
        for page, (name, width) in itertools.product(pages, WIDTHS.items()):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.goto(page.resolve().as_uri())
            settle(tab)
            for theme in THEMES:
                show(tab, theme)
                tab.screenshot(path=out / f"{page.stem}-{name}-{theme}.png", full_page=True)
    click.echo(f"{len(list(out.glob('*.png')))} pictures in {out}")


if __name__ == "__main__":
    main()
