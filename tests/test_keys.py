"""What a run's key follows from: its parameters, its digits, the meaning of its method's code, and torch."""

import ast
import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import complexity_control
from ccbook import chapters, parameters
from ccbook.machine.idx import fingerprint
from ccbook.records import provenance
from ccbook.records.run import key

SCIENCE = Path(complexity_control.__file__).parent
FILES = sorted(str(path.relative_to(SCIENCE)) for path in SCIENCE.rglob("*.py") if path.name != "__init__.py")


@pytest.fixture
def science(tmp_path, monkeypatch):
    """A copy of the science, of another name, by which the keys are now computed."""
    copy = tmp_path / "copied" / "copied_science"
    shutil.copytree(SCIENCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file in copy.rglob("*.py"):
        file.write_text(file.read_text().replace("complexity_control", "copied_science"))
    monkeypatch.syspath_prepend(copy.parent)
    monkeypatch.setattr(provenance, "SCIENCE", "copied_science")
    importlib.invalidate_caches()
    yield copy
    for name in [name for name in sys.modules if name.startswith("copied_science")]:
        del sys.modules[name]


@pytest.fixture
def keys() -> Callable[[], dict[str, str]]:
    """The keys, by the letter of the method, of each chapter's own parameters and one set of digits."""
    return lambda: {
        letter: key(parameters.check(chapter.name, chapters.defaults(chapter.name)), "0" * 64)
        for letter, chapter in chapters.METHODS.items()
    }


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("training.py", "    losses = -evidence(", "    # the sign of eq. (4)\n    losses = -evidence("),
        ("training.py", '"""The only training loop."""', '"""The one loop."""\n'),
        ("objective.py", "The terms of the generalised evidence", "The summands of the evidence"),
        ("posterior.py", "Mean-field Gaussian q(w)", "A normal distribution of each weight"),
        ("objective.py", "-losses.view(labels.shape).sum(1)", "-(losses.view(labels.shape)\n        .sum(1))"),
        ("pruning.py", "PERCENTS = range(0, 100, 10)", "\n\nPERCENTS = range( 0,100,10 )"),
        ("objective.py", "def kl(q: Posterior, prior_std: float) -> Tensor:", "def kl(q, prior_std):"),
        ("training.py", "epochs: int = 25", "epochs: float = 25"),
        ("posterior.py", "named: dict[str, tuple[int, ...]] = {}", "named = {}"),
        ("objective.py", "a standard deviation must be positive", "give a positive one"),
        ("training.py", "raise DivergedError(", "raise ArithmeticError('and by the way', "),
        ("training.py", "diverged in epoch {epoch} at", "at {epoch}, of"),
    ],
    ids=["comment", "docstring of a module", "docstring of a function", "docstring of a class", "line break", "spaces",
         "annotations of a function", "annotation of a field", "annotation of a variable", "words of an error",
         "type of an error", "words of an f-string's error"],
)  # fmt: skip
def test_what_changes_no_number_changes_no_key(science, keys, file, old, new):
    before = keys()
    edited(science / file, old, new)
    assert keys() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "methods"),
    [
        ("training.py", "losses = -evidence(", "losses = evidence(", "abcdefg"),
        ("training.py", "learning_rate: float = 5e-4", "learning_rate: float = 5e-3", "abcdefg"),
        ("pruning.py", "/ curve[:, -1]", "/ curve[:, -2]", "abcdefg"),
        ("methods/direct.py", "math.sqrt(6 / sum(shape))", "math.sqrt(3 / sum(shape))", "abcdefg"),
        ("methods/linear.py", "init_slope * t", "-init_slope * t", "e"),
        ("methods/low_rank.py", "HIDDEN = 50", "HIDDEN = 51", "c"),
        ("methods/tempered.py", "- lam.log()", "+ lam.log()", "g"),
        ("method.py", "lam / 100", "lam / 10", "abcdefg"),
    ],
    ids=["sign", "setting", "index", "common start", "linear", "low-rank", "tempered", "feed"],
)
def test_what_changes_a_number_changes_the_keys_of_the_methods_that_it_is_part_of(
    science, keys, file, old, new, methods
):
    before = keys()
    edited(science / file, old, new)
    after = keys()
    assert {letter for letter in after if after[letter] != before[letter]} == set(methods)


def test_a_new_method_changes_no_key(science, keys):
    before = keys()
    shutil.copy(science / "methods" / "linear.py", science / "methods" / "ridge.py")
    offered = science / "methods" / "__init__.py"
    offered.write_text(f"{offered.read_text()}\nfrom copied_science.methods.ridge import linear as ridge\n")
    assert keys() == before


SWAPPED: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
                             ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.USub: ast.UAdd}  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_every_changed_operator_and_sign_changes_the_meaning(file):
    text = (SCIENCE / file).read_text()
    tree, meaning = ast.parse(text), provenance.meaning(text)
    ignored = {part for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
    annotations = [getattr(node, place, None) for node in ast.walk(tree) for place in ("annotation", "returns")]
    ignored |= {part for annotation in annotations if annotation for part in ast.walk(annotation)}
    for node in set(ast.walk(tree)) - ignored:
        if isinstance(node, ast.BinOp | ast.UnaryOp) and type(node.op) in SWAPPED:
            before, node.op = node.op, SWAPPED[type(node.op)]()
            assert provenance.meaning(ast.unparse(tree)) != meaning, ast.unparse(node)
            node.op = before


def test_the_meaning_of_a_module_is_a_module_of_the_same_names():
    for file in FILES:
        text = (SCIENCE / file).read_text()
        meaning = provenance.meaning(text)
        assert provenance.meaning(meaning) == meaning
        assert defined(meaning) == defined(text)


def defined(text: str) -> list[str]:
    """The names of a module's functions and classes."""
    nodes = ast.walk(ast.parse(text))
    return [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def test_the_sources_of_a_method_are_all_that_it_imports_of_the_science():
    """Each import of the science is written so that the key follows it."""
    for letter, chapter in chapters.METHODS.items():
        sources = provenance.sources(chapter.function)
        expected = {"digits.py", "method.py", "objective.py", "posterior.py", "pruning.py", "training.py"}
        expected |= {"methods/direct.py", f"methods/{chapter.function}.py"}
        assert set(sources) == expected, letter
        for text in sources.values():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import):
                    assert not any(name.name.startswith("complexity_control") for name in node.names)
                if isinstance(node, ast.ImportFrom):
                    assert node.level == 0
                    assert node.module != "complexity_control"


def test_the_key_follows_parameters_and_digits_but_not_the_path_of_the_digits(settings, folder, digits, tmp_path):
    p, checksum = settings(dataset=str(folder)), fingerprint(digits)
    moved = folder.rename(tmp_path / "moved")
    assert key(p, checksum) == key(settings(dataset=str(moved)), checksum)
    assert key(p, checksum) == key(p.model_copy(update={"force": True}), checksum)
    assert key(p, checksum) != key(p, fingerprint(digits._replace(test_labels=digits.test_labels.flip(0))))
    for name, value in {"prior_std": 1, "epochs": 1, "seeds": [1], "hidden": [99], "precision": "bfloat16"}.items():
        assert key(p, checksum) != key(settings(dataset=str(moved), **{name: value}), checksum), name


def test_the_key_follows_the_release_of_torch_but_not_its_build(settings, monkeypatch):
    p, release = settings(), torch.__version__.partition("+")[0]
    before = key(p, "0" * 64)
    monkeypatch.setattr(torch, "__version__", f"{release}+of.another.build")
    assert key(p, "0" * 64) == before
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    assert key(p, "0" * 64) != before


def test_a_run_keeps_the_sources_that_its_key_follows_from(run):
    expected = provenance.sources("direct")
    assert run.sources == expected
    assert set(run.numbers) == {"curves.csv", "history.csv", "metrics.csv", "posterior.safetensors"}
    assert {f"science/{path}" for path in expected} | set(run.numbers) == set(run.receipt["artefacts"])
    assert run.current


def test_a_run_of_earlier_code_is_found_no_longer(science, settings):
    p = settings()
    name = key(p, "0" * 64)
    edited(science / "objective.py", "log_likelihood - lam * kl", "log_likelihood - 2 * lam * kl")
    assert key(p, "0" * 64) != name
