import copy
import json

import pandas as pd
import pytest
from docutils.utils import new_document
from sphinx.errors import ExtensionError

from complexity_control import artefacts, experiment, figures, site, words
from complexity_control.data import ROOT


@pytest.fixture
def run(given, folder):
    few = {"dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0], "hidden": [6], "epochs": 1}
    return experiment.perform("a_direct", given | few)


@pytest.fixture
def shown(run) -> artefacts.Artefact:
    picture = figures.pruning_figure(run)
    return artefacts.figure("a_direct-pruning", picture, "A caption", words.pruning(run.curves), run.curves, [run])


def test_a_receipt_names_the_run_its_commit_and_every_file(shown, run):
    receipt = shown.content["receipt"]
    assert receipt["runs"] == [
        {"id": run.id, "commit": run.receipt["git"]["commit"], "seconds": run.receipt["seconds"]}
    ]
    assert receipt["sha256"] == {
        name: artefacts.checksum(shown.content["files"][name])
        for name in ("a_direct-pruning.csv", "a_direct-pruning.svg")
    }


def test_the_receipts_command_gives_the_parameters_that_are_not_the_chapters_own(shown):
    command = shown.content["receipt"]["command"]
    assert command.startswith("papermill chapters/a_direct.ipynb a_direct.ipynb ")
    assert "-p lambdas '[0.1, 10.0]'" in command
    assert "-p profile quick" in command
    assert "prior_std" not in command


def test_the_same_picture_is_the_same_file(shown, run):
    again = artefacts.figure("a_direct-pruning", figures.pruning_figure(run), "A caption", "", run.curves, [run])
    assert again.content["receipt"]["sha256"] == shown.content["receipt"]["sha256"]


@pytest.mark.parametrize("name", ["a_direct-pruning.csv", "a_direct-pruning.svg"])
def test_a_file_that_is_not_its_receipts_stops_the_book(shown, tmp_path, name):
    content = copy.deepcopy(shown.content)
    node = site._shown(tmp_path, new_document("page"), content, "label")
    assert node["names"] == ["label"]
    assert (tmp_path / "artefacts" / name).read_text() == content["files"][name]
    content["files"][name] += " "
    with pytest.raises(ExtensionError, match=rf"{name} is not the file of its receipt.*papermill chapters/a_direct"):
        site._shown(tmp_path, new_document("page"), content, "label")


def test_a_notebook_keeps_an_artefact_as_json(shown):
    assert json.loads(json.dumps(shown._repr_mimebundle_()))[artefacts.MIME] == shown.content


def test_words_tell_where_each_curve_starts_and_ends(run):
    told = words.pruning(run.curves)
    for lam in (0.1, 10):
        accuracies = run.curves[run.curves["lam"] == lam].set_index("pruned_percent")["accuracy"]
        assert f"λ = {lam:g}: {accuracies[0]:.1%} with 0% removed" in told
        assert f"{accuracies[90]:.1%} with 90% removed" in told


def test_a_table_draws_its_name_from_the_artefact_and_not_by_chance():
    rows = pd.DataFrame({"a": [1.0]})
    first, second = (artefacts.table("page-rows", rows, "A caption").content["html"] for _ in range(2))
    assert first == second


def test_every_figure_of_the_chapters_has_a_name_of_its_page():
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            lines = "".join(cell["source"]).split("artefacts.figure(")[1:]
            assert all(line.split('"')[1].startswith(f"{path.stem}-") for line in lines)


def test_icons_are_taken_from_the_themes_own_script():
    library = 'x={"sun":[512,512,[1],"f185","M1 1"],bars:[448,512,[],"f0c9","M0 9"]},y={sun:[640,512,[],"f185","M2 2"]}'
    css = site._icons(library, {"sun", "bars", "absent"})
    assert "0 0 640 512" in css
    assert "M2 2" in css
    assert ".fa-bars" in css
    assert "absent" not in css
