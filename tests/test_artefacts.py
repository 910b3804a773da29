"""Figures and tables: their files, receipts and words, from the cell to the page."""

import copy
import json

import nbformat
import pandas as pd
import pytest
from sphinx.errors import ExtensionError

from ccbook.book import artefacts, plots, sphinx_extension


@pytest.fixture
def shown(run) -> artefacts.Artefact:
    words = plots.describe_pruning(run.curves)
    return artefacts.figure("a_direct-pruning", plots.pruning_figure(run), "A caption", words, run.curves, [run])


def test_a_receipt_names_the_run_its_commit_and_every_file(shown, run):
    content, commit = shown.content, run.receipt["git"]["commit"] or "unknown"
    assert f"- Run {run.id}: commit {commit[:10]}, {run.receipt['seconds']:,.0f} s" in content["myst"]
    assert set(content["files"]) == {"a_direct-pruning.csv", "a_direct-pruning.svg"}
    assert content["sha256"] == {name: artefacts.checksum(text) for name, text in content["files"].items()}
    for name, sha256 in content["sha256"].items():
        assert f"- {{download}}`{name} </artefacts/{name}>` (sha256 {sha256[:12]}…)" in content["myst"]


def test_the_receipts_command_gives_the_parameters_that_are_not_the_chapters_own(shown, run):
    command = shown.content["command"]
    assert command.startswith("ccbook run a_direct --set ")
    assert command.endswith(" --notebook a_direct.ipynb")
    assert {"lambdas=0.1,10.0", "profile=quick", "hidden=6"} <= set(command.split())
    assert "prior_std" not in command
    assert "dataset=own" in command.split()
    assert run.parameters.dataset not in command  # where somebody's digits lie is nobody's business
    assert command in shown.content["myst"]


def test_the_same_picture_is_the_same_file(shown, run):
    again = artefacts.figure("a_direct-pruning", plots.pruning_figure(run), "A caption", "", run.curves, [run])
    assert again.content["files"] == shown.content["files"]


@pytest.mark.parametrize("name", ["a_direct-pruning.csv", "a_direct-pruning.svg"])
def test_a_file_that_is_not_its_receipts_stops_the_book(shown, tmp_path, name):
    content = copy.deepcopy(shown.content)
    sphinx_extension.write(tmp_path, content)
    assert (tmp_path / name).read_text() == content["files"][name]
    assert (tmp_path / "a_direct-pruning.md").read_text() == content["myst"]
    content["files"][name] += " "
    with pytest.raises(ExtensionError, match=rf"{name} is not the file of its receipt.*ccbook run a_direct"):
        sphinx_extension.write(tmp_path, content)


def test_a_notebook_keeps_an_artefact_as_json(shown):
    bundle = shown._repr_mimebundle_()
    assert json.loads(json.dumps(bundle))[artefacts.MIME] == shown.content
    assert bundle["image/svg+xml"] == shown.content["files"]["a_direct-pruning.svg"]  # what Jupyter shows


def test_words_say_where_each_curve_starts_and_ends(run):
    words = plots.describe_pruning(run.curves)
    for lam in (0.1, 10):
        accuracies = run.curves[run.curves["lam"] == lam].set_index("pruned_percent")["accuracy"]
        assert f"λ = {lam:g}: {accuracies[0]:.1%} with 0% removed" in words
        assert f"{accuracies[90]:.1%} with 90% removed" in words


def test_a_table_draws_its_name_from_the_artefact_and_not_by_chance():
    rows = pd.DataFrame({"a": [1.0]})
    first, second = (artefacts.table("page-rows", rows, "A caption").content for _ in range(2))
    assert first == second


def test_every_figure_and_table_of_the_book_has_a_name_of_its_page(site):
    found = []
    for path in sorted((site.parent / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            outputs = (output.get("data", {}) for output in cell.get("outputs", []))
            names = [data[artefacts.MIME]["name"] for data in outputs if artefacts.MIME in data]
            assert all(name.startswith(f"{path.stem}-") for name in names)
            found += names
            for name in names:  # a link from anywhere finds it
                assert f'id="{name.replace("_", "-")}"' in (site / f"{path.stem}.html").read_text()
    assert len(found) == len(set(found)) > 30
