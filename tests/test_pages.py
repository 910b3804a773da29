"""The registry page and the runs' pages, the first in a browser where there is one."""

import json
import re
import shutil
import subprocess

import pytest
from bs4 import BeautifulSoup

from complexity_control import experiment, pages, parameters, registry, runs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def run(given, folder):
    return experiment.perform("a_direct", given | {"dataset": str(folder), "hidden": [3], "lambdas": [0.01, 10]})


def like(run: runs.Run, **changes: object) -> runs.Run:
    """A run with other parameters and the same numbers."""
    p = run.receipt["parameters"] | changes
    name = runs._name(parameters.resolved(p), run.receipt["data"]["sha256"])
    place = run.folder.with_name(name)
    shutil.copytree(run.folder, place)
    receipt = run.receipt | {"run": name, "parameters": p}
    (place / "receipt.json").write_text(json.dumps(receipt | {"seal": runs._seal(receipt)}))
    return runs.read(place)


PROBE = """
<script>
const began = performance.now(), [input, said] = ["input", "output"].map((n) => document.querySelector(n)), told = [];
const type = (text) => {
  input.value = text;
  input.dispatchEvent(new Event("input"));
  const shown = [...document.querySelectorAll("tbody tr")].filter((row) => row.getBoundingClientRect().height > 0);
  told.push([text, said.value, shown.length]);
};
["hidden=7", "HIDDEN=7 batch_size=128", "zzz", ""].forEach(type);
const click = (title) => {
  [...document.querySelectorAll("th button")].find((b) => b.textContent === title).click();
  const rows = document.querySelectorAll("tbody tr");
  told.push([title, rows[0].cells[2].dataset.value, rows.length]);
};
click("changed");
click("changed");
const done = performance.now();
document.title = JSON.stringify({told, opened: began, typed: done - began});
</script>
"""


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_500_runs_open_within_two_seconds_and_filter_as_one_types(run, tmp_path):
    for batch_size in range(1, 500):
        like(run, batch_size=batch_size, hidden=[7] if batch_size % 100 == 28 else [3])
    whole, damaged = registry.every()
    assert (len(whole), damaged) == (500, [])
    page = tmp_path / "registry.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{pages.listed(whole).data}{PROBE}")
    assert not re.search(r"(src|href)=.?(https?:)?//", page.read_text())  # nothing is fetched
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    shown = BeautifulSoup(subprocess.run(command, capture_output=True, text=True, check=True).stdout, "html.parser")
    assert shown.title
    told = json.loads(shown.title.text)
    assert told["told"][:4] == [
        ["hidden=7", "5 of 500 runs", 5],
        ["HIDDEN=7 batch_size=128", "1 of 500 runs", 1],
        ["zzz", "0 of 500 runs", 0],
        ["", "500 runs", 500],
    ]
    first, last = told["told"][4:]
    assert first[2] == last[2] == 500
    assert first[1] < last[1]
    assert told["opened"] < 2_000
    assert told["typed"] / 6 < 200  # milliseconds for a key or a click, with the rows counted


def test_the_table_is_one_without_its_script(run):
    listed = BeautifulSoup(pages.listed([run]).data, "html.parser")
    (row,) = listed.select("tbody tr")
    assert run.id in row.get_text()
    assert "0.01" in row.get_text() or "10" in row.get_text()
    assert listed.select_one("label[hidden]")  # a field that does nothing isn't shown


def test_a_page_stands_beside_the_books_run_only_where_both_saw_the_same_digits(run):
    book = like(run, hidden=[4])
    other = like(run, hidden=[5])
    other.receipt["data"] = run.receipt["data"] | {"sha256": "0" * 64}
    assert pages.comparable(run, book) == book
    assert pages.comparable(run, other) is None
    assert pages.comparable(run, run) is None
    assert pages.comparable(run, None) is None
    assert "book's run in grey behind" in pages.page(run, book)
    alone = pages.page(run, None)
    assert "No comparison with the paper" in alone
    assert "grey" not in alone
    assert "paper " not in pages.metrics(run, None)
    assert "<small>paper" in pages.metrics(run, book)  # at lambda 10, which the paper has
    assert pages.metrics(run, book).count("<small>paper") == 3


def test_a_run_of_earlier_code_says_so(run, monkeypatch):
    assert "earlier code" not in pages.page(run, None)
    monkeypatch.setattr(runs, "SOURCES", ("data",))
    assert "earlier code" in pages.page(run, None)
    assert "earlier code" in pages.listed([run]).data


def test_a_page_and_a_figure_are_written_for_each_run(run, tmp_path):
    pages.write(tmp_path / "reruns", [run, like(run, seeds=[0], prior_std=2.0)])
    assert len(list((tmp_path / "reruns").glob("*.md"))) == len(list((tmp_path / "reruns").glob("*.svg"))) == 2
    text = (tmp_path / "reruns" / f"{run.id}.md").read_text()
    assert pages.command(run.parameters) in text
    for name in run.receipt["parameters"]:
        assert f"<td>{name}</td>" in text
    for sum_ in run.receipt["artefacts"].values():
        assert sum_ in text


def test_damaged_runs_are_told_below_the_table(run):
    (run.folder / "receipt.json").write_text("{")
    assert "can&#x27;t be read" in pages.listed(*registry.every()).data
