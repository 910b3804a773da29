"""A run on record: a folder with its artefacts and a receipt that says how they were made."""

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from safetensors.torch import load_file

from ccbook import chapters
from ccbook.parameters import Parameters, resolved
from ccbook.records import provenance
from complexity_control.posterior import Params, Posterior, from_flat

ARTEFACTS = ("curves.csv", "metrics.csv", "posterior.safetensors")  # each run has them


class RunError(ValueError):
    """A run that can't be read or written; the message names the file."""


def key(p: Parameters, checksum: str) -> str:
    """What a run's numbers follow from: parameters, digits, the meaning of the method's code, torch; hex sha256.

    The dataset's name is left out, and its checksum is taken: the same digits under another path are the same data.
    """
    values = p.model_dump(mode="json", exclude={"force", "dataset"})
    code = provenance.code(provenance.sources(chapters.METHODS[p.method].function))
    release = torch.__version__.partition("+")[0]  # without what it was built for
    return hashlib.sha256(json.dumps([values, checksum, code, release]).encode()).hexdigest()


def name(p: Parameters, checksum: str) -> str:
    """A run's id: it begins with the chapter and ends with the key."""
    return f"{p.chapter}-{key(p, checksum)[:12]}"


class Run(NamedTuple):
    """A recorded run, its artefacts verified."""

    folder: Path
    receipt: dict[str, Any]

    @property
    def id(self) -> str:
        """The chapter's name and the beginning of the content key."""
        return self.receipt["run"]

    @property
    def parameters(self) -> Parameters:
        """The fully resolved parameters."""
        return resolved(self.receipt["parameters"])

    @property
    def current(self) -> bool:
        """Whether the code as it stands would find this run, and not make another."""
        return self.id == name(self.parameters, self.receipt["data"]["sha256"])

    @property
    def curves(self) -> pd.DataFrame:
        """Rows of method, lam, seed, pruned_percent, accuracy."""
        return pd.read_csv(self.folder / "curves.csv")

    @property
    def metrics(self) -> pd.DataFrame:
        """Rows of method, lam, seed, accuracy, ..., evidence (nats), updates."""
        return pd.read_csv(self.folder / "metrics.csv")

    @property
    def history(self) -> pd.DataFrame:
        """Rows of method, lam, seed, epoch, loss (nats a digit); runs of earlier versions have none."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def hypernetwork(self) -> Params:
        """The trained parameters of a hypernetwork, stacked by seed; only the runs of hypernetworks have them."""
        return load_file(self.folder / "hypernetwork.safetensors")

    @property
    def posterior(self) -> Posterior:
        """The trained posteriors, stacked in the order of the metrics' rows."""
        return from_flat(load_file(self.folder / "posterior.safetensors"))

    @property
    def numbers(self) -> dict[str, str]:
        """The artefacts with numbers, by their sha256; the others are the sources."""
        return {name: sha256 for name, sha256 in self.receipt["artefacts"].items() if not name.endswith(".py")}

    @property
    def sources(self) -> dict[str, str]:
        """The science sources that the run was made by; runs of earlier versions have none."""
        files = [file for file in self.receipt["artefacts"] if file.endswith(".py")]
        return {file.removeprefix("science/"): (self.folder / file).read_text() for file in files}


def read(folder: Path, pattern: str = "*") -> Run:
    """A recorded run, checked against its receipt, and the receipt against its seal.

    Args: pattern, of the artefacts to check; a list of many runs leaves out the large ones. Raises: RunError.
    """
    remedy = f"Delete the folder {folder.name} and run its chapter again"
    try:
        receipt = json.loads((folder / "receipt.json").read_text())
        expected = receipt["artefacts"] | {name: receipt["artefacts"][name] for name in ARTEFACTS}
        resolved(receipt["parameters"])
        run = receipt["run"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RunError(f"{folder / 'receipt.json'} can't be read ({reason}). {remedy}") from error
    if receipt.get("seal", seal(receipt)) != seal(receipt):  # those of earlier versions have none
        raise RunError(f"{folder / 'receipt.json'} was changed after the run. {remedy}")
    if run != folder.name:
        raise RunError(f"{folder} holds the run {run}. Give the folder this name, or delete it")
    for file, sha256 in expected.items():
        if fnmatch(file, pattern) and (not (folder / file).is_file() or checksum(folder / file) != sha256):
            raise RunError(f"{folder / file} is missing, or isn't the file of its receipt. {remedy}")
    return Run(folder, receipt)


def seal(receipt: Mapping[str, Any]) -> str:
    """sha256 of all that a receipt says: a number changed by hand shows."""
    content = {name: value for name, value in receipt.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum(file: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
