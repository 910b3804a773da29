"""Runs on record: a folder each, whole or not there, with a receipt that says how it was made."""

import contextlib
import datetime
import errno
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import reprlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from complexity_control import reported
from complexity_control.data import ROOT, Digits, load
from complexity_control.methods import from_flat, to_flat
from complexity_control.parameters import FineTuning, Hypernetwork, Parameters, check, defaults, resolved
from complexity_control.posterior import Params, Posterior

# a run's numbers depend on these modules; how they are shown doesn't make another run
SOURCES = ("data", "posterior", "objective", "methods", "training", "pruning")
PACKAGES = ("torch", "torchvision", "numpy", "pandas")
ARTEFACTS = ("curves.csv", "metrics.csv", "posterior.safetensors")
# what a fine-tuning shares with the run that it starts from
SHARED = ("dataset", "lambdas", "seeds", "prior_std", "init_log_std", "hidden", "precision", "device", "profile")


class RunError(ValueError):
    """A run that can't be read or written; the message names the file."""


class Run(NamedTuple):
    """A recorded run, its artefacts verified."""

    folder: Path
    receipt: dict[str, Any]

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def parameters(self) -> Parameters:
        return resolved(self.receipt["parameters"])

    @property
    def current(self) -> bool:
        """Whether the code as it stands would find this run, and not make another."""
        return self.id == _name(self.parameters, self.receipt["data"]["sha256"])

    @property
    def curves(self) -> pd.DataFrame:
        """Rows of method, lam, seed, pruned_percent, accuracy."""
        return pd.read_csv(self.folder / "curves.csv")

    @property
    def metrics(self) -> pd.DataFrame:
        """Rows of method, lam, seed, accuracy, ..., evidence (nats), updates."""
        return pd.read_csv(self.folder / "metrics.csv")

    @property
    def hypernetwork(self) -> Params:
        """The trained parameters of a hypernetwork, stacked by seed; only the runs of (c) and (e) have them."""
        return load_file(self.folder / "hypernetwork.safetensors")

    @property
    def posterior(self) -> Posterior:
        """The trained posteriors, stacked in the order of the metrics' rows."""
        return from_flat(load_file(self.folder / "posterior.safetensors"))


def resolve(chapter: str, given: Mapping[str, Any]) -> tuple[Parameters, Digits, Run | None]:
    """Checked parameters, the digits that they name, and the run that a fine-tuning starts from.

    Raises: ParameterError, DataError, RunError.
    """
    p = check(chapter, given)
    digits = load(p.dataset, p.device, p.cap.train, p.cap.test)
    if not isinstance(p, FineTuning):
        return p, digits, None
    begin = _start(p, digits)
    return p.model_copy(update={"start": begin.id}), digits, begin


def needed(p: Parameters) -> Parameters | None:
    """Parameters of the run that a fine-tuning starts from, unless it names one, or isn't a fine-tuning."""
    source = reported.CHAPTERS.get(reported.STARTS.get(p.method, ""), "")
    if not isinstance(p, FineTuning) or p.start != source:
        return None
    return check(source, defaults(source) | {name: value for name, value in p if name in SHARED})


def _start(p: FineTuning, digits: Digits) -> Run:
    source = reported.CHAPTERS[reported.STARTS[p.method]]
    begins = needed(p)
    folder = path(begins, digits) if begins else home() / p.start
    if Path(p.start).name != p.start or not (folder / "receipt.json").is_file():
        raise RunError(
            f"parameter start = {reprlib.repr(p.start)}: no such run is on record with these settings. Execute chapter "
            f"{source} with the same {', '.join(SHARED)}, or name one of its runs"
        )
    begin = read(folder)
    if begin.parameters.chapter != source:
        raise RunError(f"parameter start = {p.start!r}: this chapter starts from a run of {source}")
    for name in ("lambdas", "seeds", "hidden", "prior_std"):
        theirs, ours = getattr(begin.parameters, name), getattr(p, name)
        if theirs != ours:
            raise RunError(
                f"parameter start = {p.start!r}: that run was made with {name} = {theirs}, this chapter is given "
                f"{ours}. Give it the same, or name another run to start from"
            )
    if begin.receipt["data"]["sha256"] != digits.checksum:
        raise RunError(f"parameter start = {p.start!r}: that run saw other digits. Give this chapter the same dataset")
    return begin


def home() -> Path:
    """The folder of all runs: CCBOOK_RUNS, or book/runs."""
    return Path(os.environ.get("CCBOOK_RUNS", ROOT / "book" / "runs"))


def key(p: Parameters, digits: Digits) -> str:
    """What a run's numbers follow from: resolved parameters, the sources of the package, the data; hex sha256.

    The dataset's name is left out: the same digits under another path are the same data.
    """
    return _key(p, digits.checksum)


def _key(p: Parameters, checksum: str) -> str:
    values = p.model_dump(mode="json", exclude={"force", "dataset"})
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    digest.update(_sources() + checksum.encode())
    return digest.hexdigest()


def path(p: Parameters, digits: Digits) -> Path:
    """The folder of the run with these parameters: its id begins with the chapter and ends with the key."""
    return home() / _name(p, digits.checksum)


def _name(p: Parameters, checksum: str) -> str:
    return f"{p.chapter}-{_key(p, checksum)[:12]}"


def find(folder: Path) -> Run | None:
    """The run of this folder, if it is on record.

    Raises: RunError if it is there but isn't what its receipt says.
    """
    _restore(folder)
    return read(folder) if (folder / "receipt.json").is_file() else None


def read(folder: Path, pattern: str = "*") -> Run:
    """A recorded run, checked against its receipt, and the receipt against its seal.

    Args: pattern, of the artefacts to check; a list of many runs leaves out the large ones.
    Raises: RunError.
    """
    try:
        receipt = json.loads((folder / "receipt.json").read_text())
        expected = receipt["artefacts"] | {name: receipt["artefacts"][name] for name in ARTEFACTS}
        resolved(receipt["parameters"])
        name = receipt["run"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(
            f"{folder / 'receipt.json'} can't be read ({type(error).__name__}: {error}). {_remedy(folder)}"
        ) from error
    if receipt.get("seal", _seal(receipt)) != _seal(receipt):  # those of earlier versions have none
        raise RunError(f"{folder / 'receipt.json'} was changed after the run. {_remedy(folder)}")
    if name != folder.name:
        raise RunError(f"{folder} holds the run {name}. Give the folder this name, or delete it")
    for name, sha256 in expected.items():
        if fnmatch(name, pattern) and (not (folder / name).is_file() or _sha256(folder / name) != sha256):
            raise RunError(f"{folder / name} is missing, or isn't the file of its receipt. {_remedy(folder)}")
    return Run(folder, receipt)


def _seal(receipt: Mapping[str, Any]) -> str:
    """sha256 of all that a receipt says: a number changed by hand shows."""
    said = {name: value for name, value in receipt.items() if name != "seal"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def of_profile(profile: str, device: str = "cpu") -> dict[str, Run]:
    """The runs that a profile's tables stand on, by the paper's letter of the method, for each chapter there is.

    Raises: RunError if one is missing or damaged.
    """
    found: dict[str, Run] = {}
    for method, chapter in reported.CHAPTERS.items():
        p, digits, _ = resolve(chapter, defaults(chapter) | {"profile": profile, "device": device})
        run = find(path(p, digits))
        if run is None:
            raise RunError(
                f"chapter {chapter} has no run on record with profile {profile}, the code as it stands and this data. "
                f"Run `make {profile}`, or execute the chapter"
            )
        found[method] = run
    return found


def recorded() -> Iterator[Run]:
    """All runs on record, in the order of their names."""
    for folder in folders():
        yield read(folder)


def folders() -> list[Path]:
    """The folders of all runs, damaged ones too, in the order of their names."""
    for aside in home().glob(".replaced-*"):
        _restore(home() / aside.name.removeprefix(".replaced-").rpartition("-")[0])
    return sorted(receipt.parent for receipt in home().glob("[!.]*/receipt.json"))


def store(
    folder: Path,
    p: Parameters,
    digits: Digits,
    q: Posterior,
    tables: Mapping[str, pd.DataFrame],
    hypernetwork: Params,
    seconds: float,
    cores: int,
    kernels: str,
) -> Run:
    """Put a finished run on record: its folder appears whole, under its final name, in one step.

    Args: folder, its path as it was when training began: an edit of the sources since then made another key.
    A run already there is replaced if p.force, and else kept: it has the same key, so the same numbers.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        for name, table in tables.items():
            table.to_csv(partial / f"{name}.csv", index=False, lineterminator="\n")
        for name, tensors in {"posterior": to_flat(q), "hypernetwork": hypernetwork}.items():
            if tensors:
                file = partial / f"{name}.safetensors"
                save_file({n: t.cpu().contiguous() for n, t in tensors.items()}, file)
                file.chmod(0o644)  # safetensors closes its files to others, and mkdtemp its folders
        receipt = {
            "run": folder.name,
            "parameters": p.model_dump(mode="json", exclude={"force"}),
            "data": {"sha256": digits.checksum, "train": len(digits.train_labels), "test": len(digits.test_labels)},
            **provenance(p.device),
            "cores": cores,
            "product_kernels": kernels,
            "seconds": round(seconds, 1),
            "artefacts": {file.name: _sha256(file) for file in sorted(partial.iterdir())},
        }
        receipt["seal"] = _seal(receipt)
        (partial / "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n")
        partial.chmod(0o755)
        _put(partial, folder, p.force)
    except SafetensorError as error:  # a full disk, as this library says it
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read(folder)


def _put(partial: Path, folder: Path, replace: bool) -> None:
    """Give a whole folder its name; whoever is there keeps it, unless it is to be replaced or has no receipt."""
    aside = folder.with_name(f".replaced-{folder.name}-{partial.name.removeprefix('.partial-')}")
    while True:
        if replace and _sums(folder) == _sums(partial):  # as a rule: then the receipt alone is new, in one step
            (partial / "receipt.json").replace(folder / "receipt.json")
            return
        try:
            partial.rename(folder)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if not replace and (folder / "receipt.json").is_file():
            return
        with contextlib.suppress(FileNotFoundError):  # another that replaces it was faster
            folder.rename(aside)
    if aside.is_dir() and (aside / "receipt.json").is_file():
        shutil.rmtree(aside)


def _sums(folder: Path) -> dict[str, str]:
    """What is there, by its content, but for the receipt."""
    return {file.name: _sha256(file) for file in folder.glob("*") if file.name != "receipt.json"}


def _restore(folder: Path) -> None:
    """Bring back a run that was set aside for another by a process that was killed before the other stood there."""
    for aside in [] if folder.exists() else sorted(home().glob(f".replaced-{folder.name}-*")):
        with contextlib.suppress(OSError):  # the other stands there now, or the record can't be written
            aside.rename(folder)


def check_place(p: Parameters, digits: Digits) -> None:
    """Before hours of training: can a run be recorded at all, and is there room for it?

    Raises: RunError.
    """
    layers = [digits.train_images.shape[1], *p.hidden, digits.classes]
    weights = sum((a + 1) * b for a, b in itertools.pairwise(layers))
    # means and log deviations in float32, for each lambda and, of a hypernetwork, at most twice more; the tables
    needed = 8 * weights * len(p.seeds) * (len(p.lambdas) + 2 * isinstance(p, Hypernetwork)) + 100_000
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=home()):
            free = shutil.disk_usage(home()).free
    except OSError as error:
        raise RunError(
            f"{home()} can't be written ({error.strerror}), so no run can be recorded. Change that, or set CCBOOK_RUNS "
            "to another folder"
        ) from error
    if free < needed:
        raise RunError(
            f"{home()} has {free / 1e6:,.1f} MB free, and this run takes {needed / 1e6:,.1f} MB. Make room, or "
            "set CCBOOK_RUNS to another folder"
        )


def provenance(device: str) -> dict[str, Any]:
    """When, from which commit, with which versions and on which processor something is made."""
    changes = _git("status", "--porcelain", "--", "src", "chapters")
    return {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": bool(changes)},
        "code": _code(),
        "versions": {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in PACKAGES},
        "processor": processor(device),
    }


def _code() -> str:
    """What tells the sources of a run's numbers apart from earlier and later ones."""
    return hashlib.sha256(_sources()).hexdigest()[:12]


def _sources() -> bytes:
    return b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in SOURCES)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # a copy without its history
    return done.stdout.strip()


def processor(device: str) -> str:
    """The name of what a training on this device runs on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _remedy(folder: Path) -> str:
    return f"Delete the folder {folder.name} and run its chapter again"
