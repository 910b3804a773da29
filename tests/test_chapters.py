import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from complexity_control import experiment, runs
from complexity_control.data import ROOT

NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
QUICK = {"profile": "quick", "lambdas": [10]}


def papermill(chapter: str, directory: Path, **changes: object) -> subprocess.CompletedProcess:
    """papermill as a person would type it."""
    given = [word for name, value in changes.items() for word in ("-p", name, str(value))]
    command = [
        sys.executable,
        "-m",
        "papermill",
        os.path.relpath(ROOT / "chapters" / f"{chapter}.ipynb", directory),
        "out.ipynb",
        *given,
    ]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_is_stripped_short_and_defines_nothing(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) <= 12
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    assert [cell.metadata.get("tags") for cell in cells].count(["parameters"]) == 1
    for cell in cells:
        tree = ast.parse(re.sub(r"^%.*", "", cell.source, flags=re.MULTILINE))
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda) for node in ast.walk(tree))


@pytest.mark.parametrize("chapter", ["a_direct", "e_linear"])
def test_papermill_from_another_directory_records_the_run(chapter, tmp_path):
    done = papermill(chapter, tmp_path, profile="quick", lambdas="[10]", epochs=1)
    assert done.returncode == 0, done.stderr
    (run,) = runs.recorded()
    assert run.id.startswith(f"{chapter}-")
    assert run.parameters.lambdas == (10,)
    notebook = (tmp_path / "out.ipynb").read_text()
    assert run.id in notebook
    assert "Profile quick, for a look only" in notebook
    progress = f"{chapter} 0%: epoch 0/1"
    assert progress not in notebook  # no frame of the progress bar is stored
    assert progress in done.stderr
    outputs = [cell.get("outputs") for cell in nbformat.reads(notebook, as_version=4).cells]
    assert str(ROOT) not in str(outputs)


def test_jupyter_papermill_and_python_record_the_same_run(given, tmp_path, record):
    """Jupyter's user edits the parameters cell; papermill injects another; Python calls the package."""
    notebook = nbformat.read(ROOT / "chapters" / "a_direct.ipynb", as_version=4)
    parameters = next(cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"])
    parameters.source = parameters.source.replace('"paper"', '"quick"').replace("[0.1, 1, 10, 100]", "[10]")
    NotebookClient(notebook, kernel_name="python3").execute()
    (run,) = runs.recorded()
    bytes_ = run.receipt["artefacts"]
    for again in (
        lambda: papermill("a_direct", tmp_path, **QUICK, force=True),
        lambda: experiment.perform("a_direct", given | QUICK | {"force": True}),
    ):
        again()
        (same,) = runs.recorded()
        assert same.receipt["finished"] >= run.receipt["finished"]
        assert (same.id, same.receipt["artefacts"]) == (run.id, bytes_)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lambdas": "[0]"}, "parameter lambdas.0 = 0: Input should be greater than 0"),
        ({"epoch": 1}, "unknown parameter 'epoch': did you mean 'epochs'?"),
    ],
)
def test_a_refused_parameter_ends_papermill_with_the_reason(changes, reason, tmp_path, record):
    done = papermill("a_direct", tmp_path, profile="quick", **changes)
    assert done.returncode != 0
    assert reason in "".join(done.stderr.splitlines()[-4:])
    assert not record.exists()


def test_results_without_runs_say_how_to_make_them(tmp_path):
    done = papermill("results", tmp_path, profile="quick")
    assert done.returncode != 0
    assert "a_direct has no run on record with profile quick" in done.stderr
    assert "make quick" in done.stderr
