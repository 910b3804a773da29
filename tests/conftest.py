"""What the tests share: parameters of a small run, digits made for it, and a record of one's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from complexity_control import parameters
from complexity_control.data import FILES, Digits
from complexity_control.parameters import Parameters
from tests.building import build_in_spite_of_kills

# a busy machine is no failure
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of runs of the test's own; those of the book are neither read nor changed."""
    monkeypatch.setenv("CCBOOK_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def given() -> dict:
    """Parameters of method (a) as its chapter gives them, for the quick profile."""
    return parameters.defaults("a_direct") | {"profile": "quick"}


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


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def building(workplace: Path) -> FileLock:
    """Held by whoever builds, changes or copies the project's copy."""
    return FileLock(workplace / "project.lock")


@pytest.fixture(scope="session")
def project(workplace: Path, building: FileLock) -> Path:
    """A copy whose build was killed on its way, and then ran to its end; the first that needs it makes it."""
    with building:
        if not (workplace / "project" / "built").exists():
            (workplace / "project").mkdir()
            build_in_spite_of_kills(workplace / "project")
    return workplace / "project"


@pytest.fixture(scope="session")
def site(project: Path) -> Path:
    return project / "book" / "quick" / "html"


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format's definition: zeros, type 8, number of axes, lengths as big-endian integers, bytes."""
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())
