"""What the project promises of its two packages: what imports what, what a reader can copy, what a method takes."""

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from ccbook import ROOT
from complexity_control import Posterior
from tests.helpers import copy_of_the_project

SRC = ROOT / "src"
# what a package of the edition may import of it; the first are read without the others
ALLOWED = {
    "machine": {"machine"},
    "records": {"records", "machine"},
    "compare": {"compare", "records", "machine"},
    "book": {"book", "compare", "records", "machine"},
}


def modules(package: str) -> dict[str, Path]:
    """The files of a package, by the names of their modules."""
    files = (SRC / package).rglob("*.py")
    return {".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported(file: Path) -> set[str]:
    """All that a module imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file} imports relatively"
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def test_the_science_imports_nothing_of_the_edition_and_little_else():
    for file in modules("complexity_control").values():
        roots = {name.split(".")[0] for name in imported(file)} - sys.stdlib_module_names
        assert roots <= {"complexity_control", "torch", "numpy", "pandas"}, file
        assert "ccbook" not in file.read_text(), file


def test_the_science_is_read_in_half_an_hour():
    assert sum(len(file.read_text().splitlines()) for file in modules("complexity_control").values()) <= 700


@pytest.mark.parametrize("package", ["complexity_control", "ccbook"])
def test_imports_run_one_way(package):
    """No module leads back to itself; of the packages' own files only the names are read."""
    known = modules(package)
    plain = {name for name, file in known.items() if file.name != "__init__.py"}
    graph = {name: imported(known[name]) & plain for name in plain}
    order = list(TopologicalSorter(graph).static_order())  # it raises CycleError, with the cycle
    assert set(order) == plain


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_of_the_edition_imports_only_what_lies_below_it(part):
    parts = {name.split(".")[1] for name in modules("ccbook") if name.count(".") > 1}
    assert parts == set(ALLOWED)
    for name, file in modules("ccbook").items():
        if name.startswith(f"ccbook.{part}."):
            used = {each.split(".")[1] for each in imported(file) if each.startswith("ccbook.")}
            assert used & (parts | {"cli", "sweep"}) <= ALLOWED[part], name


def test_no_package_imports_a_chapter():
    for package in ("complexity_control", "ccbook"):
        for file in modules(package).values():
            assert not any(name.split(".")[0] == "chapters" for name in imported(file)), file


def examples() -> list[str]:
    """The README's blocks of Python that use the science."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in blocks if re.search(r"^(import|from) complexity_control", block, re.MULTILINE)]


def test_the_readmes_example_trains_on_ones_own_tensors(digits, monkeypatch, tmp_path, capsys):
    """It finds a thousand `images` and `labels`, and needs no book."""
    (block,) = examples()
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    assert "ccbook" not in block
    names = {"images": digits.train_images.repeat(5, 1), "labels": digits.train_labels.repeat(5)}
    monkeypatch.chdir(tmp_path)
    scope = dict(names)
    exec(compile(block, "<README>", "exec"), scope)
    posteriors = [value for value in scope.values() if isinstance(value, Posterior)]
    assert all(tensor.isfinite().all() for q in posteriors for part in q for tensor in part.values())
    assert posteriors
    assert "accuracy" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


COMMANDS = """
import sys
from click.testing import CliRunner
from ccbook.cli import main
for words in (["run", "h", "--set", *sys.argv[1:]], ["runs", "--method", "h_ridge"], ["run", "--help"]):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    print(result.output)
"""


def test_a_method_is_one_file_one_line_and_one_notebook(tmp_path, folder):
    project = copy_of_the_project(tmp_path / "copy")
    variables = os.environ | {"PYTHONPATH": str(project / "src")}
    science = project / "src" / "complexity_control" / "methods"
    ridge = (science / "linear.py").read_text().replace("def linear(", "def ridge(")
    (science / "ridge.py").write_text(ridge)
    table = project / "src" / "ccbook" / "chapters.py"
    last = re.findall(r"^    Chapter\(.*\n(?=\)\})", table.read_text(), re.MULTILINE)[0]
    table.write_text(table.read_text().replace(last, f'{last}    Chapter("h", "h_ridge", "ridge", "ridge"),\n'))
    notebook = (project / "chapters" / "e_linear.ipynb").read_text().replace("e_linear", "h_ridge")
    (project / "chapters" / "h_ridge.ipynb").write_text(notebook)
    small = ["profile=quick", f"dataset={folder}", "hidden=4", "lambdas=1,10"]
    run = subprocess.run([sys.executable, "-c", COMMANDS, *small], env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    ran, listed, helped = re.split(r"\n\n(?=run |Usage)", run.stdout)
    (receipt,) = Path(variables["CCBOOK_RUNS"]).glob("h_ridge-*/receipt.json")
    assert receipt.parent.name in ran
    assert receipt.parent.name in listed
    assert "h_ridge" in helped
    assert "(only e, h)" in helped
    assert "science/methods/ridge.py" in json.loads(receipt.read_text())["artefacts"]
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "2", "--nolock", "--config", "profile=quick"]
    planned = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    assert re.search(r"^h_ridge +1$", planned.stdout, re.MULTILINE)
