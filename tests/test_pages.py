"""The registry page and the runs' pages, the first in a browser where there is one."""

import re
import time

import pytest
from bs4 import BeautifulSoup

from ccbook import parameters
from ccbook.book import pdf, run_pages
from ccbook.records import history, provenance
from ccbook.records import run as runs
from ccbook.records.run import Run


@pytest.fixture
def small(small: dict) -> dict:
    """A lambda that the paper's tables don't have, and one that they have."""
    return small | {"lambdas": [0.01, 10], "hidden": [3], "epochs": 1}


def like(run: Run, **changes: object) -> Run:
    """A run with other parameters and the same numbers, as if it were on record."""
    values = run.receipt["parameters"] | changes
    name = runs.name(parameters.resolved(values), run.receipt["data"]["sha256"])
    return Run(run.folder, run.receipt | {"run": name, "parameters": values})


@pytest.mark.skipif(pdf.find() is None, reason=pdf.MISSING)
def test_500_runs_open_within_two_seconds_and_filter_as_one_types(run, tmp_path):
    many = [like(run, batch_size=k, hidden=[7] if k % 100 == 28 else [3]) for k in range(1, 501)]
    page = tmp_path / "registry.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{run_pages.registry(many).data}")
    assert not re.search(r"(src|href)=.?(https?:)?//", page.read_text())  # nothing is fetched
    with pdf.started() as browser:
        tab = browser.new_page()
        tab.goto(page.as_uri())
        assert tab.evaluate("performance.now()") < 2_000
        rows, counter, field = tab.locator("tbody tr:visible"), tab.locator("output"), tab.get_by_label("Filter")
        for text, shown, words in (
            ("hidden=7", 5, "5 of 500 runs"),
            ("HIDDEN=7 batch_size=128", 1, "1 of 500 runs"),
            ("zzz", 0, "0 of 500 runs"),
            ("", 500, "500 runs"),
        ):
            field.fill(text)
            assert (rows.count(), counter.text_content()) == (shown, words)
        firsts = []
        for _ in range(2):
            began = time.perf_counter()
            tab.get_by_role("button", name="changed").click()
            firsts.append(tab.locator("tbody tr").first.locator("td").nth(2).get_attribute("data-value") or "")
            assert time.perf_counter() - began < 1
        assert firsts[0] < firsts[1]
        assert rows.count() == 500


def test_the_table_is_one_without_its_script(run):
    page = BeautifulSoup(run_pages.registry([run]).data, "html.parser")
    (row,) = page.select("tbody tr")
    assert run.id in row.get_text()
    best = run.metrics.groupby("lam")["accuracy"].mean()
    assert f"{best.max():.4f} λ = {best.idxmax():g}" in row.get_text()
    assert page.select_one("label[hidden]")  # a field that does nothing isn't shown


def test_a_page_stands_beside_the_books_run_only_where_both_saw_the_same_digits(run):
    book = like(run, hidden=[4])
    other = book._replace(receipt=book.receipt | {"data": run.receipt["data"] | {"sha256": "0" * 64}})
    assert run_pages.comparable(run, book) == book
    assert run_pages.comparable(run, other) is None
    assert run_pages.comparable(run, run) is None
    assert run_pages.comparable(run, None) is None
    assert "book's run in grey behind" in run_pages.page(run, book)
    alone = run_pages.page(run, None)
    assert "No comparison with the paper" in alone
    assert "grey" not in alone
    assert "paper " not in run_pages.metrics(run, None)
    assert "<small>paper" in run_pages.metrics(run, book)  # at lambda 10, which the paper has
    assert run_pages.metrics(run, book).count("<small>paper") == 3


def test_a_run_of_earlier_code_says_so(run, monkeypatch):
    assert "earlier code" not in run_pages.page(run, None)
    monkeypatch.setattr(provenance, "code", lambda texts: "of another meaning")
    assert "earlier code" in run_pages.page(run, None)
    assert "earlier code" in run_pages.registry([run]).data


def test_a_page_and_a_figure_are_written_for_each_run(run, tmp_path):
    run_pages.write(tmp_path / "reruns", [run, like(run, seeds=[1], prior_std=2.0)])
    assert len(list((tmp_path / "reruns").glob("*.md"))) == len(list((tmp_path / "reruns").glob("*.svg"))) == 2
    text = (tmp_path / "reruns" / f"{run.id}.md").read_text()
    assert history.command(run.parameters, public=True) in text
    assert str(run.parameters.dataset) not in text  # where somebody's digits lie is nobody's business
    for name in run.receipt["parameters"]:
        assert f"<td>{name}</td>" in text
    for sha256 in run.receipt["artefacts"].values():
        assert sha256 in text


def test_what_a_user_typed_is_escaped(run):
    named = like(run, dataset="/home/<script>alert(1)<b>", hidden=[5])
    page = re.sub(r"```bash\n.*?\n```", "", run_pages.page(named, None), flags=re.DOTALL)  # Sphinx escapes code
    for text in (page, run_pages.registry([named]).data):
        assert "<script>alert" not in text
        assert "&lt;b&gt;" in text
    assert run_pages.escaped("a<b\n\u202e&") == "a&lt;b  &amp;"


def test_damaged_runs_are_listed_below_the_table(run):
    (run.folder / "receipt.json").write_text("{")
    assert "can&#x27;t be read" in run_pages.registry(*history.all_runs()).data
