"""How the pages say to cite the book and the paper: the entries are BibTeX, and they are CITATION.cff's."""

import yaml
from bs4 import BeautifulSoup
from pybtex.database import Entry, parse_string  # type: ignore[import-untyped]

from ccbook import ROOT, citation
from tests.test_site import all_pages, parsed

CFF = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def entries(page: BeautifulSoup) -> list[Entry]:
    """The entries of a page's box, as BibTeX reads them."""
    (box,) = page.select(".cite pre")
    return list(parse_string(box.get_text(), "bibtex").entries.values())


def test_the_papers_entry_is_that_of_the_books_bibliography():
    """CITATION.cff says the same of it."""
    work = CFF["preferred-citation"]
    (_, paper) = parse_string(citation.bibtex(""), "bibtex").entries.values()
    known = {name: str(work[name]) for name in ("title", "journal", "volume", "year", "doi")}
    known |= {"number": str(work["issue"]), "pages": f"{work['start']}--{work['end']}"}
    assert known.items() <= dict(paper.fields).items()
    names = [f"{author['family-names']}, {author['given-names']}" for author in work["authors"]]
    assert [str(person) for person in paper.persons["author"]] == names


def test_a_runs_name_is_written_as_latex_reads_it():
    assert r"page ``a\_direct-000000000001''" in citation.bibtex("a_direct-000000000001")


def test_every_page_says_how_to_cite_it_in_words_and_to_scholar(site):
    pages = all_pages(site)
    cited = [page for page in pages if parsed(page).select(".cite")]
    assert {page.stem for page in pages} - {page.stem for page in cited} == {"search", "genindex"}
    for page in cited:
        title = parsed(page).select("h1")[0].get_text().rstrip("#").strip() if page.stem != "index" else ""
        book, paper = entries(parsed(page))
        assert (paper.type, paper.fields["doi"]) == ("article", CFF["preferred-citation"]["doi"])
        assert book.fields["title"].strip("{}") == CFF["title"]
        assert f"Version {CFF['version']}" in book.fields["note"]
        assert title in book.fields["note"].replace("\\_", "_")
        tags = {tag["name"]: tag["content"] for tag in parsed(page).select("meta[name^=citation_]")}
        assert tags["citation_title"] == (title or CFF["title"])
        assert tags["citation_author"] == CFF["authors"][0]["name"]
        assert tags["citation_publication_date"] == f"{CFF['date-released']:%Y/%m/%d}"
