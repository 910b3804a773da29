"""How to cite the book and its paper, from CITATION.cff: BibTeX, and the meta tags that Google Scholar reads."""

import html
from functools import cache
from typing import Any

import yaml

from ccbook import ROOT


@cache
def works() -> list[dict[str, Any]]:
    """The entries of CITATION.cff for the book and for the paper."""
    book = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    return [book, book["preferred-citation"]]


def bibtex(work: dict[str, Any], page: str = "") -> str:
    """A work's entry; of the book's with the title of a page."""
    names = [f"{a['family-names']}, {a['given-names']}" if "family-names" in a else f"{{{a['name']}}}"
             for a in work["authors"]]  # fmt: skip
    year = work.get("year") or work["date-released"].year
    fields = {"author": " and ".join(names), "title": f"{{{work['title']}}}", "year": year}
    if "journal" in work:
        fields |= {"journal": work["journal"], "volume": work["volume"], "number": work["issue"]}
        fields |= {"pages": f"{work['start']}--{work['end']}", "doi": work["doi"]}
    else:
        fields["note"] = f"Version {work['version']}" + (f", page ``{page}''" if page else "")
    kind, key = ("article", "paper") if "journal" in work else ("misc", "edition")
    return "".join(
        [f"@{kind}{{{key}{year}", *(f",\n  {name} = {{{value}}}" for name, value in fields.items()), "\n}\n"]
    )


def box(page: str) -> str:
    """The fold at the end of a page."""
    entries = html.escape("\n".join([bibtex(works()[0], page), bibtex(works()[1])]))
    return (
        "<details class='cite'><summary>Cite this</summary><p>This page of the book, and the paper:</p>"
        f"<div class='highlight-bibtex notranslate'><div class='highlight'><pre>{entries}</pre></div></div></details>"
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
