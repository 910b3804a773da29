"""The registry page and the runs' pages, the first in a browser where there is one."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from ccbook import chapters, parameters, perform
from ccbook.book import pdf, plots, run_pages
from ccbook.records import history, provenance
from ccbook.records import run as runs
from ccbook.records.run import Run
from tests.helpers import ccbook, ended


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
            ("batch_size=12", 1, "1 of 500 runs"),  # and not 120 to 129
            ("atch_size=12", 11, "11 of 500 runs"),
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
    assert len(list((tmp_path / "reruns").glob("*.md"))) == len(list((tmp_path / "reruns").glob("*-loss.svg"))) == 2
    assert len(list((tmp_path / "reruns").glob("*.svg"))) == 4
    text = (tmp_path / "reruns" / f"{run.id}.md").read_text()
    assert history.command(run.parameters, public=True) in text
    assert str(run.parameters.dataset) not in text  # where somebody's digits lie is nobody's business
    for name in run.receipt["parameters"]:
        assert f"<td>{name}</td>" in text
    for sha256 in run.receipt["artefacts"].values():
        assert sha256 in text


def losses(run: Run, *of_seeds: list[float]) -> Run:
    """The run as if its models had had these losses, epoch by epoch, at each of its lambdas."""
    rows = [(lam, seed, epoch, loss) for lam in run.parameters.lambdas for seed, each in enumerate(of_seeds)
            for epoch, loss in enumerate(each, start=1)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["lam", "seed", "epoch", "loss"])
    table.to_csv(run.folder / "history.csv", index=False)
    return like(run, epochs=len(of_seeds[0]), seeds=list(range(len(of_seeds))), profile="paper")


@pytest.mark.parametrize(
    ("of_seeds", "settled"),
    [
        (([9.0, 5, 3, 2, 1.4], [9.1, 5.2, 3.1, 2.1, 1.6]), "no at λ = 0.01 (-0.55, seeds ± 0.14)"),
        (([9.0, 5, 3, 1.45, 1.4], [9.1, 5.2, 3.1, 1.65, 1.6]), "yes at λ = 0.01 (-0.05, seeds ± 0.14)"),
        (([1.0] * 10, [1.0] * 10), "yes at λ = 0.01 (+0, seeds ± 0), yes at λ = 10"),
        (([9.0] + [1.0] * 9, [9.0] + [1.0] * 8 + [1.5]), "yes at λ = 0.01 (+0.25, seeds ± 0.35)"),
        (([9.0, 5, 3, 2, 1.4],), "unknown: that takes two seeds and two epochs"),
        (([9.0], [9.1]), "unknown"),
    ],
)
def test_a_loss_has_settled_that_changed_no_more_than_its_seeds_differ(run, of_seeds, settled):
    assert history.settling(losses(run, *of_seeds)).startswith(settled)


def test_show_and_the_page_say_whether_the_loss_had_settled(run):
    settled = history.settling(run)
    assert f"the loss had settled: {settled}" in ended(ccbook("show", run.id))
    assert f"Had the loss settled? {settled}." in run_pages.page(run, None)


def test_the_losses_of_a_hypernetwork_are_one_curve(small):
    names = {"lambdas": [0.1, 10], "hidden": [3], "dataset": small["dataset"], "seeds": [0, 1], "epochs": 5}
    run = perform.perform("e_linear", chapters.defaults("e_linear") | names)
    (ax,) = plots.loss_figure(run).axes
    assert len(ax.lines) == 1
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == pytest.approx(
        run.history.groupby("epoch")["loss"].mean().tolist()
    )
    assert "λ" not in history.settling(run)


def test_the_losses_of_a_single_epoch_are_dots(small):
    run = perform.perform("a_direct", small | {"lambdas": [0.1, 10], "epochs": 1})
    (ax,) = plots.loss_figure(run).axes
    drawn = [np.asarray(line.get_ydata()) for line in ax.lines if line.get_marker() == "o"]
    assert sorted(y.item() for y in drawn if y.size) == pytest.approx(sorted(run.history["loss"]))
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["0.1", "10"]


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
