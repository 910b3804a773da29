"""What the tests share: parameters of a small run, digits made for it, and a record of one's own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, is_hypothesis_test
from hypothesis import settings as examples

from ccbook import ROOT, chapters, parameters, perform
from ccbook.machine.idx import FILES
from ccbook.parameters import Parameters
from ccbook.records import store
from ccbook.records.run import Run
from complexity_control.digits import Digits
from tests.helpers import write_idx

# whoever starts the tests in the background has Ctrl-C ignored, by them and by all that they start
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)  # pytest has a process on every core

# a busy machine is no failure, and a record or a folder of digits serves all examples of a test
PATIENT = examples(deadline=None, suppress_health_check=list(HealthCheck))
examples.register_profile("usual", PATIENT, max_examples=100)
examples.register_profile("deep", PATIENT, max_examples=10_000)
DEEP = bool(os.environ.get("CCBOOK_DEEP"))
examples.load_profile("deep" if DEEP else "usual")


def pytest_itemcollected(item: pytest.Item) -> None:
    """With that many examples a property is a deep test too."""
    if DEEP and isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
        item.add_marker("deep")


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of runs of the test's own; those of the book are neither read nor changed."""
    monkeypatch.setenv("CCBOOK_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def given() -> dict:
    """Parameters of method (a) as its chapter gives them, for the quick profile."""
    return chapters.defaults("a_direct") | {"profile": "quick"}


@pytest.fixture(name="settings")
def checked(given: dict) -> Callable[..., Parameters]:
    """Checked parameters with some values changed."""
    return lambda **changes: parameters.check("a_direct", given | changes)


@pytest.fixture
def digits() -> Digits:
    """300 made-up images of 5 × 5 pixels in three classes, easy to tell apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (300,), generator=generator)
    images = torch.randint(0, 100, (300, 25), generator=generator)
    images[torch.arange(300), labels] = 255
    return Digits(images[:200].byte(), labels[:200], images[200:].byte(), labels[200:])


@pytest.fixture
def folder(tmp_path: Path, digits: Digits) -> Path:
    """The same digits as a folder of IDX files."""
    home = tmp_path / "own"
    home.mkdir()
    for name, tensor in zip(FILES, digits, strict=True):
        write_idx(home / name, tensor.byte().numpy().reshape((-1, 5, 5) if "images" in name else -1))
    return home


@pytest.fixture
def small(given: dict, folder: Path) -> dict:
    """Parameters of a run that takes a tenth of a second."""
    return given | {"dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0], "hidden": [6]}


@pytest.fixture
def run(small: dict) -> Run:
    """That run, on record."""
    return perform.perform("a_direct", small)


@pytest.fixture(scope="session")
def site() -> Path:
    """The site that `make quick` has built."""
    folder = ROOT / "book" / "quick" / "html"
    if not (folder / "index.html").is_file():
        pytest.fail(f"there is no site in {folder}: `make quick` builds it, and `make test` does that first")
    return folder


@pytest.fixture(scope="session")
def books_runs() -> Path:
    """The folder of the runs that the site shows."""
    return store.home()  # before a test has a record of its own
