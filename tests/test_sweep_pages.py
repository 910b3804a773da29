"""The page of a sweep: what it says, and how it looks in a browser."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from ccbook import ROOT, chapters, perform
from ccbook.book import pdf, run_pages, sweep_pages
from ccbook.records import history, sweeps
from ccbook.records.run import Run
from ccbook.records.sweeps import Sweep
from tests.helpers import like, on_record
from tests.test_browser import COLOURS, WCAG, violations

GRID = "methods: [a]\ndatasets: [{folder}]\n"
SETS = list(itertools.product([0.05, 0.1, 0.5, 1.0], [10, 20, 50, 100, 200], ["constant", "cosine"]))


@pytest.fixture
def many(run: Run, folder: Path) -> list[Run]:
    """40 runs of as many parameters, with metrics that follow from them, as if a sweep had made them."""
    generator = np.random.default_rng(0)
    for k, (prior_std, batch_size, schedule) in enumerate(SETS):
        metrics = run.metrics
        metrics["accuracy"] = (
            0.9 - 0.1 * abs(np.log10(prior_std / 0.1)) - 0.01 * generator.random(len(metrics))
        ).round(4)
        values = run.receipt["parameters"] | {"prior_std": prior_std, "batch_size": batch_size, "schedule": schedule}
        like(run, f"a_direct-{k:012x}", {"metrics.csv": metrics.to_csv(index=False)}, parameters=values)
    shutil.rmtree(run.folder)
    return on_record()


@pytest.fixture
def kept(many: list[Run], folder: Path) -> Sweep:
    missing = ["ccbook run a_direct --set prior_std=9.0"]
    return sweeps.keep(Path("my grid.yaml"), GRID.format(folder=folder), ["a", "b"], [run.id for run in many], missing)


@pytest.fixture
def rows(many: list[Run]) -> pd.DataFrame:
    return sweep_pages.measured(many)


def test_the_table_has_a_row_for_each_run_and_lambda(many, rows):
    assert len(rows) == len(many) * 2
    assert sweep_pages.varied(rows) == ["batch_size", "schedule", "prior_std"]
    assert set(rows["dataset"]) == {"own"}  # where the folder lies is nobody's business
    assert set(rows["hidden"]) == {6}
    for run in many[:3]:
        own = rows[rows["run"] == run.id].set_index("lam")["accuracy"]
        assert own.to_dict() == pytest.approx(run.metrics.groupby("lam")["accuracy"].mean().to_dict())


def test_a_picture_has_a_panel_for_each_metric_and_says_where_the_best_is(rows):
    axes = sweep_pages.figure(rows, "prior_std").axes
    assert len(axes) == len(run_pages.METRICS)
    drawn = {tuple(np.asarray(line.get_ydata()).round(6)) for line in axes[0].lines}
    means = rows.groupby(["lam", "prior_std"])["accuracy"].mean()
    assert {tuple(means[lam].round(6)) for lam in (0.1, 10)} <= drawn
    assert f"at λ = 10 mean accuracy is greatest, {means[10].max():.3f}, at 0.1" in sweep_pages.describe(
        rows, "prior_std"
    )
    assert len(sweep_pages.figure(rows, "schedule").axes) == len(run_pages.METRICS)


@pytest.mark.parametrize("parameter", ["prior_std", "schedule", "shuffle", "chapter"])
def test_a_picture_of_one_lambda_has_a_point_for_each_value(rows, parameter):
    alone = rows[rows["lam"] == 10].assign(shuffle=lambda own: own["batch_size"] > 50)
    first = sweep_pages.figure(alone, parameter).axes[0]
    drawn = {round(float(y), 6) for line in first.lines for y in np.asarray(line.get_ydata()) if np.isfinite(y)}
    assert set(alone.groupby(parameter)["accuracy"].mean().round(6)) <= drawn


def test_a_folder_of_digits_is_no_number_whatever_its_name(run, folder):
    values = run.receipt["parameters"]
    for k, name in enumerate(("1.0.1", "2024")):
        like(run, f"a_direct-{k:012x}", parameters=values | {"dataset": str(folder.with_name(name))})
    shutil.rmtree(run.folder)
    rows = sweep_pages.measured(on_record())
    assert set(rows["dataset"]) == {"1.0.1", "2024"}
    assert sweep_pages.figure(rows, "dataset").axes


def test_a_negative_parameter_leaves_the_metrics_axes_as_they_are(rows):
    figure = sweep_pages.figure(rows.assign(init_log_std=-10 * rows["prior_std"]), "init_log_std")
    axes = {ax.get_title(): ax for ax in figure.axes}
    assert axes["accuracy"].get_yscale() == "linear"
    assert axes["accuracy"].get_ylim()[1] > rows["accuracy"].max()


def test_two_folders_of_one_name_are_two_datasets(run, folder):
    other = like(run, "a_direct-" + "b" * 12, {}, parameters=run.receipt["parameters"] | {"dataset": "/other/own"})
    runs = [run, other]
    rows = sweep_pages.measured(runs)
    assert sweep_pages.varied(rows) == ["dataset"]
    assert set(rows["dataset"]) == {f"{folder.parent.name}/own", "other/own"}
    spelled = like(run, "a_direct-" + "c" * 12, {}, parameters=run.receipt["parameters"] | {"dataset": f"{folder}/"})
    assert set(sweep_pages.measured([run, spelled])["dataset"]) == {"own"}
    grid = GRID.replace("{folder}", f"{folder}, /other/own")
    sweep = sweeps.keep(Path("grid.yaml"), grid, [], [one.id for one in runs], [])
    page = sweep_pages.page(sweep, runs, rows)
    assert f"datasets: [{folder.parent.name}/own, other/own]" in page
    assert str(folder) not in page


def test_a_grid_under_another_name_is_the_same_sweep(run, folder):
    for name in ("grid.yaml", "renamed.yaml"):
        sweeps.keep(Path(name), GRID.format(folder=folder), ["a", "b"], [run.id], [])
    (sweep,) = sweeps.all_sweeps()[0]
    assert sweep.file == "renamed.yaml"


def test_the_best_runs_are_the_best(rows):
    best = sweep_pages.best(rows, "accuracy")
    for lam, part in rows.groupby("lam"):
        expected = part.sort_values("accuracy", ascending=False)["accuracy"].head(3).tolist()
        assert best[best["lam"] == lam]["accuracy"].tolist() == expected


def test_methods_are_compared_and_parameters_of_one_alone_are_no_fault(run, small):
    other = perform.perform("e_linear", chapters.defaults("e_linear") | small)
    third = perform.perform("e_linear", chapters.defaults("e_linear") | small | {"samples": 2})
    rows = sweep_pages.measured([run, other, third])
    assert {"chapter", "samples"} <= set(sweep_pages.varied(rows))
    assert [label.get_text() for label in sweep_pages.figure(rows, "chapter").axes[-1].get_xticklabels()] == [
        "(a)",
        "(e)",
    ]
    sweep = sweeps.keep(Path("x.yaml"), GRID, ["a"], [run.id, other.id, third.id], [])
    text = sweep_pages.page(sweep, [run, other, third], rows)
    assert re.findall("^### (.*)", text, re.MULTILINE) == ["(e) linear hypernetwork", "All methods"]
    assert "(e) linear hypernetwork, each metric against samples" in text
    assert "All methods, each metric against method" in text


def test_a_sweep_of_one_run_has_no_pictures(run):
    sweep = sweeps.keep(Path("x.yaml"), GRID, ["a"], [run.id], [])
    assert "```{image}" not in sweep_pages.page(sweep, [run], sweep_pages.measured([run]))


def test_a_parameter_that_a_method_lacks_is_a_dash(run, small):
    own = {name: small[name] for name in ("dataset", "profile", "lambdas", "seeds", "hidden")}
    both = [run, perform.perform("e_linear", chapters.defaults("e_linear") | own)]
    rows = sweep_pages.measured(both)
    assert rows.groupby("chapter")["feed"].unique().map(list).to_dict() == {
        "a_direct": [np.nan],
        "e_linear": ["scaled"],
    }
    sweep = sweeps.keep(Path("x.yaml"), GRID, ["a", "e"], [one.id for one in both], [])
    page = sweep_pages.page(sweep, both, rows)
    assert "–</td>" in page
    assert "NaN" not in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("datasets: [~/secret/mine, MNIST]", "datasets: [mine, MNIST]"),
        ('dataset: "/home/me/secret/mine"', 'dataset: "mine"'),
        ("dataset: /mine/", "dataset: mine"),
        ("datasets: ['/home/me/my digits/two of them', ~nobody_at.all/x]", "datasets: ['two of them', x]"),
        ("datasets: ../../me/secret/mine  # about ~5/10", "datasets: mine  # about 10"),
        ("set: {lambdas: '.1, 1'}", "set: {lambdas: '.1, 1'}"),
        ("# as in https://example.org/a/b, and/or 1/2", "# as in https://example.org/a/b, and/or 1/2"),
    ],
)
def test_a_grid_on_a_page_says_of_no_folder_where_it_lies(run, text, shown):
    """One that no run on record has, because all on it failed or it is spelled in another way."""
    sweep = sweeps.keep(Path("x.yaml"), text, ["a"], [run.id], [])
    rows = sweep_pages.measured([run])
    assert f"\n{shown}\n" in sweep_pages.page(sweep, [run], rows)


def test_a_part_of_another_sweep_and_one_without_runs_are_not_shown(kept, many):
    part = sweeps.keep(Path("less.yaml"), GRID, ["a"], kept.runs[:3], [])
    gone = sweeps.keep(Path("gone.yaml"), GRID, ["c"], ["a_direct-fff"], [])
    assert sweeps.all_sweeps() == ([gone, kept], [])
    shown = sweep_pages.listing(many, [gone, kept], []).data
    assert kept.name in shown
    assert "40 of 41 runs on record" in shown
    assert part.name not in shown + gone.name
    assert gone.name not in shown


@pytest.mark.parametrize(
    "change",
    [{"file": "<img src=x>"}, {"file": "[x](y)"}, {"runs": ["../x"]}, {"name": "sweep-o-000000000000"}, {"grid": 1}],
)
def test_a_sweep_that_holds_what_no_page_may_is_damaged(kept, record, change):
    file = record / f"{kept.name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    found, (fault,) = sweeps.all_sweeps()
    assert found == []
    assert f"{kept.name}.json can't be read" in fault
    assert "<img" not in sweep_pages.listing([], [], [fault]).data


@pytest.fixture
def page(kept: Sweep, many: list[Run], tmp_path: Path) -> Path:
    """The sweep's page as the site has it, rendered with the list of runs and nothing else."""
    source = tmp_path / "source"
    (source / "runs").mkdir(parents=True)
    sweep_pages.write(source / "runs", many, [kept])
    for run in many:
        (source / "runs" / f"{run.id}.md").write_text(f"---\norphan: true\n---\n# {run.id}\n")
    shutil.copytree(ROOT / "chapters" / "_static", source / "_static")
    shutil.copy(ROOT / "_config.yml", source)
    (source / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "reruns"}))
    (source / "references.bib").touch()
    notebook = json.loads((ROOT / "chapters" / "reruns.ipynb").read_text())
    notebook["cells"] = [{"cell_type": "markdown", "id": "0", "metadata": {}, "source": ["# Every run"]}]
    (source / "reruns.ipynb").write_text(json.dumps(notebook))
    (source / "extra").mkdir()
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", str(source), "--warningiserror", "--nitpick", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return source / "_build" / "html" / "runs" / f"{kept.name}.html"


@pytest.mark.deep
@pytest.mark.skipif(pdf.find() is None, reason=pdf.MISSING)
def test_the_page_opens_within_two_seconds_and_is_whole_in_four_ways(page, kept, many, folder):
    text = BeautifulSoup(page.read_text(), "html.parser")
    assert "ccbook sweep 'my grid.yaml'" in text.get_text()
    assert str(folder) not in page.read_text()
    files = {Path(str(link["href"])).suffix: page.parent / str(link["href"]) for link in text.select("a.download")}
    assert len(pd.read_csv(files[".csv"])) == len(many) * 2
    assert files[".yaml"].read_text() == "methods: [a]\ndatasets: [own]\n"
    with pdf.started() as browser:
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.goto(page.as_uri())
        assert tab.evaluate("performance.now()") < 2_000
        pdf.settle(tab)
        alts = tab.evaluate("[...document.querySelectorAll('article img')].map(i => i.naturalWidth && i.alt)")
        assert len(alts) == 3
        assert all(re.search(r"mean evidence is greatest, −[\d,]+, at", alt) for alt in alts)
        for theme, rules in zip(pdf.THEMES, (WCAG, COLOURS), strict=True):
            pdf.show(tab, theme)
            assert violations(tab, rules) == []
        tab.set_viewport_size({"width": 390, "height": 800})
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390


def test_a_runs_page_links_to_its_sweep(kept, many):
    assert f"[my grid.yaml]({kept.name}.md)" in run_pages.page(many[0], None, [kept])
    assert "sweep" not in run_pages.page(many[0], None)
    assert history.all_runs()[1] == []
