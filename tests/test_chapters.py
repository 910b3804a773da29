"""The sources of the chapters, and what Jupyter, papermill and Python make of them."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from ccbook import ROOT, chapters, perform
from ccbook.records.run import Run, RunError
from tests.helpers import on_record

NOTEBOOKS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
CELLS = {"derivation": 36}  # of code, at most; a dozen elsewhere
QUICK = {"profile": "quick", "lambdas": [10], "epochs": 1}
EQUATIONS = {  # by the ends of their labels, and the functions that compute them
    "network": "logits", "likelihood": "log_likelihood", "kl": "kl", "generalised": "evidence",
    "evidence": "evidence", "map": "loss", "minibatch": "loss", "clip": "gradient_of",
    "reparameterised": "sampled_logits", "low-rank": "low_rank",
    "linear": "linear", "expectation": "sampled_lambdas", "density": "log_density", "accuracy": "accuracy",
    "stability": "stability", "updates": "updates",
}  # fmt: skip


def cells(chapter: str, kind: str) -> list[NotebookNode]:
    notebook = nbformat.read(ROOT / "chapters" / f"{chapter}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def named(text: str) -> Iterator[tuple[Path, str]]:
    for file, function in re.findall(r"\{literalinclude\} science/(\S+)\n(?::language:.*\n)?:pyobject: (\w+)", text):
        yield ROOT / "src" / "complexity_control" / file, function


def included(chapter: str) -> list[tuple[Path, str]]:
    """The science files and functions whose code a chapter shows."""
    return [pair for cell in cells(chapter, "markdown") for pair in named(cell.source)]


def python(cell: NotebookNode) -> str:
    return re.sub(r"^%.*", "", cell.source, flags=re.MULTILINE)


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_a_chapter_is_stripped_short_and_defines_nothing(chapter):
    code = cells(chapter, "code")
    assert len(code) <= CELLS.get(chapter, 12)
    assert max(len(cell.source.splitlines()) for cell in code) <= 30
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1
    for cell in code:
        definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        assert not any(isinstance(node, definitions) for node in ast.walk(ast.parse(python(cell))))


def test_beside_each_equation_stands_the_function_that_computes_it():
    found = set()
    for chapter in ["derivation", *chapters.names()]:
        for file, function in included(chapter):
            names = [getattr(node, "name", "") for node in ast.parse(file.read_text()).body]
            assert function in names, f"{chapter} shows {function}, which {file.name} hasn't"
        for cell in cells(chapter, "markdown"):
            for label in re.findall(r"\$\$ \(eq-([\w-]+)\)", cell.source):
                # the derivation's labels say so; its eq-d-evidence is the exact one, which nothing computes
                equation = label.removeprefix("d-")
                if equation in EQUATIONS and label != "d-evidence":
                    assert EQUATIONS[equation] in [function for _, function in named(cell.source)], (chapter, label)
                    found.add(equation)
    assert found == set(EQUATIONS)


def papermill(chapter: str, directory: Path, **changes: object) -> subprocess.CompletedProcess:
    """papermill as a person would type it, in another directory."""
    words = [word for name, value in changes.items() for word in ("-p", name, str(value))]
    notebook = os.path.relpath(ROOT / "chapters" / f"{chapter}.ipynb", directory)
    command = [sys.executable, "-m", "papermill", notebook, "out.ipynb", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


@pytest.fixture
def by_python(given, tmp_path, record, monkeypatch) -> Run:
    """The run as Python makes it, in another record than the test's."""
    monkeypatch.setenv("CCBOOK_RUNS", str(tmp_path / "python"))
    run = perform.perform("a_direct", given | QUICK)
    monkeypatch.setenv("CCBOOK_RUNS", str(record))
    return run


def test_papermill_from_another_directory_records_the_run_that_python_records(by_python, tmp_path):
    done = papermill("a_direct", tmp_path, **QUICK)
    assert done.returncode == 0, done.stderr
    (run,) = on_record()
    assert (run.id, run.receipt["artefacts"]) == (by_python.id, by_python.receipt["artefacts"])
    notebook = (tmp_path / "out.ipynb").read_text()
    assert run.id in notebook
    assert "Profile quick, for a look only" in notebook
    progress = "a_direct 0%: epoch 0/1"
    assert progress not in notebook  # no frame of the progress bar is stored
    assert progress in done.stderr
    outputs = [cell.get("outputs") for cell in nbformat.reads(notebook, as_version=4).cells]
    assert str(ROOT) not in str(outputs)


def test_jupyter_records_the_run_that_python_records(by_python):
    """Jupyter's user edits the parameters cell."""
    notebook = nbformat.read(ROOT / "chapters" / "a_direct.ipynb", as_version=4)
    parameters = next(cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"])
    for name, value in QUICK.items():
        parameters.source = re.sub(rf"^({name}: \w+ =) [^#]*", rf"\1 {value!r}  ", parameters.source, flags=re.M)
    NotebookClient(notebook, kernel_name="python3").execute()
    (run,) = on_record()
    assert (run.id, run.receipt["artefacts"]) == (by_python.id, by_python.receipt["artefacts"])


def test_refused_parameters_end_papermill_with_the_reasons(tmp_path, record):
    done = papermill("a_direct", tmp_path, profile="quick", lambdas="[0]", epoch=1)
    assert done.returncode != 0
    last = "".join(done.stderr.splitlines()[-4:])
    assert "parameter lambdas.0 = '0': Input should be greater than 0" in last
    assert "unknown parameter 'epoch': did you mean 'epochs'?" in last
    assert not record.exists()


@pytest.mark.parametrize("chapter", ["idea", "conclusions", "results", "claims", "cost", "audit", "explorer", "made"])
def test_a_page_of_results_without_runs_says_how_to_make_them(chapter):
    names: dict[str, object] = {}
    first, second = cells(chapter, "code")[:2]
    exec(python(first).replace('"paper"', '"quick"'), names)
    with pytest.raises(RunError, match=r"a_direct has no run on record with profile quick.*make quick"):
        exec(python(second), names)
