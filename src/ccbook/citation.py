"""How to cite the book and its paper, from CITATION.cff: BibTeX, and the meta tags that Google Scholar reads."""

import html
import re
from functools import cache
from typing import Any

import yaml

from ccbook import ROOT


@cache
def works() -> list[dict[str, Any]]:
    """The entries of CITATION.cff for the book and for the paper."""
    book = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    return [book, book["preferred-citation"]]


def bibtex(page: str) -> str:
    """The entries of the book, with the title of a page, and of the paper, as in the bibliography."""
    book = works()[0]
    names = " and ".join(f"{{{author['name']}}}" for author in book["authors"])
    title = re.sub(r"([_&%#$])", r"\\\1", page)  # as LaTeX reads it
    note = f"Version {book['version']}" + (f", page ``{title}''" if page else "")
    fields = {"author": names, "title": f"{{{book['title']}}}", "year": book["date-released"].year, "note": note}
    own = "".join(f",\n  {name} = {{{value}}}" for name, value in fields.items())
    entries = re.split(r"^(?=@)", (ROOT / "chapters" / "references.bib").read_text(), flags=re.MULTILINE)
    (paper,) = (entry.strip() for entry in entries if entry.startswith("@article{grebenkova2021,"))
    return f"@misc{{edition{fields['year']}{own}\n}}\n\n{paper}\n"


def box(page: str) -> str:
    """The fold at the end of a page."""
    return (
        "<details class='cite'><summary>Cite this</summary><p>This page of the book, and the paper:</p>"
        "<div class='highlight-bibtex notranslate'><div class='highlight'>"
        f"<pre>{html.escape(bibtex(page))}</pre></div></div></details>"
    )


def meta(page: str) -> str:
    """The meta tags of a page, which is a part of the book; the book itself where its title is empty."""
    book, paper = works()
    tags = [("citation_title", page or book["title"])]
    tags += [("citation_inbook_title", book["title"])] if page else []
    tags += [("citation_author", author["name"]) for author in book["authors"]]
    tags += [("citation_publication_date", f"{book['date-released']:%Y/%m/%d}")]
    authors = [f"citation_author={a['given-names']} {a['family-names']}" for a in paper["authors"]]
    reference = [f"citation_title={paper['title']}", *authors, f"citation_journal_title={paper['journal']}"]
    tags += [("citation_reference", "; ".join([*reference, f"citation_doi={paper['doi']}"]))]
    return "".join(f'<meta name="{name}" content="{html.escape(content)}">\n' for name, content in tags)
