"""What is installed is what was locked: every file by its checksum, and nothing that the locks don't name."""

import importlib.metadata
import json
import re
import sysconfig
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ccbook import ROOT

GPU = re.compile("nvidia-|cuda-|triton")


def locked(file: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock, and the checksums of its files."""
    text = re.sub(r"^#.*\n", "", (ROOT / file).read_text(), flags=re.MULTILINE).replace("\\\n", "")
    entries = [line.split(" --hash=") for line in text.splitlines()]
    return [(Requirement(entry[0].strip()), [sha.strip() for sha in entry[1:]]) for entry in entries]


COMMON, FOR_GPUS = locked("requirements.lock"), locked("requirements-gpu.lock")


@pytest.mark.parametrize("lock", [COMMON, FOR_GPUS], ids=["common", "gpu"])
def test_every_file_that_may_be_installed_has_its_checksum(lock):
    for requirement, hashes in lock:
        assert str(requirement.specifier).startswith("=="), requirement
        assert "+" not in str(requirement.specifier), requirement  # no build that only some machines find
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), requirement


def test_what_only_gpus_need_is_in_their_lock_alone_and_torch_in_both_in_other_builds():
    assert not [r.name for r, _ in COMMON if GPU.match(r.name)]
    assert [r.name for r, _ in FOR_GPUS if not GPU.match(r.name)] == ["torch"]
    (ours, pin), (gpus, other) = ((set(h), r) for lock in (COMMON, FOR_GPUS) for r, h in lock if r.name == "torch")
    assert pin.specifier == other.specifier
    assert not ours & gpus  # else pip would rather take that for GPUs, whose address names its checksum


def test_the_locks_hold_all_that_is_needed_within_its_bounds():
    """Followed through what is installed here, from the project's own requirements with all extras."""
    pins = {canonicalize_name(r.name): r for r, _ in COMMON if not r.marker or r.marker.evaluate()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"], *(each for more in project["optional-dependencies"].values() for each in more)]
    seen: set[str] = set()
    while waiting:
        needed = Requirement(waiting.pop())
        name = canonicalize_name(needed.name)
        extras = [{"extra": extra} for extra in needed.extras] or [{"extra": ""}]
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        assert name in pins, f"{needed} is in no lock"
        (pin,) = pins[name].specifier
        assert needed.specifier.contains(pin.version, prereleases=True), f"{needed}, but locked is {pin.version}"
        if name in seen and not needed.extras:
            continue
        seen.add(name)
        try:
            others = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another machine's environment
        for other in map(Requirement, others):
            if not GPU.match(other.name) and (not other.marker or any(map(other.marker.evaluate, extras))):
                other.marker = None
                waiting.append(str(other))


def test_what_is_installed_is_what_is_locked():
    pins = {canonicalize_name(r.name): r for r, _ in COMMON + FOR_GPUS if not r.marker or r.marker.evaluate()}
    ours = importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])  # not those that setuptools brings
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in ours}
    others = {n: v for n, v in installed.items() if n in pins and not pins[n].specifier.contains(v, prereleases=True)}
    assert not others, f"not of the lock's versions, so `make setup` was not run since: {others}"


def test_the_devcontainer_is_the_dockerfiles():
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    settings = json.loads(re.sub(r"^//.*$", "", text, flags=re.MULTILINE))
    assert (ROOT / ".devcontainer" / settings["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"WORKDIR {settings['workspaceFolder']}" in dockerfile
    assert f"USER {settings['remoteUser']}" in dockerfile
