"""A run on record: a folder with its artefacts and a receipt that says how they were made."""

import hashlib
import json
import math
from collections.abc import Mapping
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from typing_extensions import TypedDict

from ccbook import chapters
from ccbook.parameters import Hypernetwork, Parameters, format_errors, printable, resolved
from ccbook.records import provenance
from complexity_control.posterior import Params, Posterior, from_flat, shapes
from complexity_control.pruning import PERCENTS

# what a receipt says lands on pages and in paths, and its seal is no signature: anybody can compute it
NAME, FILE = r"[a-z]\w{0,100}-[0-9a-z]+", r"([a-z_]\w*/)*[a-z_]\w*\.[a-z]+"  # of a run; in its folder, never outside
Text = Annotated[str, Field(max_length=200, pattern=r"^[^<>&\"`]*$"), AfterValidator(printable)]
Count = Annotated[int, Field(ge=1, le=2**32)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _of_torch(versions: dict[str, str]) -> dict[str, str]:
    if "torch" not in versions:
        raise ValueError("the version of torch is missing")
    return versions


class Receipt(BaseModel):
    """What a receipt must hold to be read; the parameters are validated by their own model."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    run: str = Field(pattern=f"^{NAME}$")
    parameters: dict[str, Any]
    data: TypedDict("Data", {"sha256": Sha256, "train": Count, "test": Count})  # type: ignore[valid-type]
    artefacts: dict[Annotated[str, Field(pattern=f"^{FILE}$")], Sha256]
    finished: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")
    seconds: float = Field(ge=0, le=1e9)
    cores: Count
    git: TypedDict("Git", {"commit": Text | None, "dirty": bool})  # type: ignore[valid-type]
    versions: Annotated[dict[Text, Text], AfterValidator(_of_torch)]
    processor: Text
    seal: Sha256


ARTEFACTS = ("curves.csv", "history.csv", "metrics.csv", "posterior.safetensors")  # each run has them
METRICS = ["accuracy", "accuracy_curve_mean", "stability", "log_likelihood", "kl", "evidence", "updates",
           "updates_shared"]  # fmt: skip


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
        """Rows of method, lam, seed, epoch, loss (nats a digit); a hypernetwork's have no lam."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def hypernetwork(self) -> Params:
        """The trained parameters of a hypernetwork, stacked by seed; only the runs of hypernetworks have them."""
        return load_file(self.folder / "hypernetwork.safetensors")

    @property
    def posterior(self) -> Posterior:
        """The trained posteriors, stacked in the order of the metrics' rows. Raises: RunError if they are no such."""
        file, p = self.folder / "posterior.safetensors", self.parameters
        try:
            q = from_flat(tensors := load_file(file))
            widths = [q.mean["W1"].shape[1], *p.hidden, q.mean[f"b{len(p.hidden) + 1}"].shape[1]]
            stack = len(p.lambdas) * len(p.seeds)
            expected = {f"{part}.{n}": (stack, *s) for part in Posterior._fields for n, s in shapes(widths).items()}
            if {n: tuple(t.shape) for n, t in tensors.items()} != expected:
                raise ValueError("the tensors are not of the run's network")
        except (SafetensorError, KeyError, IndexError, ValueError) as error:
            raise RunError(f"{file} can't be read ({error})") from error
        return from_flat({name: tensors[name] for name in expected})  # a file has the names in another order

    @property
    def numbers(self) -> dict[str, str]:
        """The artefacts with numbers, by their sha256; the others are the sources."""
        return {name: sha256 for name, sha256 in self.receipt["artefacts"].items() if not name.endswith(".py")}

    @property
    def sources(self) -> dict[str, str]:
        """The science sources that the run was made by; runs of earlier versions have none."""
        files = [file for file in self.receipt["artefacts"] if file.endswith(".py")]
        return {file.removeprefix("science/"): (self.folder / file).read_text(errors="replace") for file in files}


def read(folder: Path, pattern: str = "*") -> Run:
    """A recorded run, checked against its receipt, and the receipt against its seal.

    Args: pattern, of the artefacts to check; a list of many runs leaves out the large ones. Raises: RunError.
    """
    remedy = f"Delete the folder {folder.name} and run its chapter again"
    try:
        receipt = json.loads((folder / "receipt.json").read_text())
        run = Receipt.model_validate(receipt).run
        if lacking := [name for name in ARTEFACTS if name not in receipt["artefacts"]]:
            raise ValueError(f"it names no {', '.join(lacking)}, as those of earlier versions do")
        p = resolved(receipt["parameters"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        faults = format_errors(error, "entry") if isinstance(error, ValidationError) else []
        reason = "; ".join(faults) or f"{type(error).__name__}: {error}"
        raise RunError(f"{folder / 'receipt.json'} can't be read ({reason}). {remedy}") from error
    if receipt["seal"] != seal(receipt):
        raise RunError(f"{folder / 'receipt.json'} was changed after the run. {remedy}")
    if run != folder.name:
        raise RunError(f"{folder} holds the run {run}. Give the folder this name, or delete it")
    for file, sha256 in receipt["artefacts"].items():
        if fnmatch(file, pattern) and (not (folder / file).is_file() or checksum(folder / file) != sha256):
            raise RunError(f"{folder / file} is missing, or isn't the file of its receipt. {remedy}")
    models = {"lam": p.lambdas, "seed": p.seeds}
    trained = {"seed": p.seeds} if isinstance(p, Hypernetwork) else models
    for file, keys, columns in (
        ("metrics.csv", models, METRICS),
        ("curves.csv", models | {"pruned_percent": PERCENTS}, ["accuracy"]),
        ("history.csv", trained | {"epoch": range(1, p.epochs + 1)}, ["loss"]),
    ):
        try:
            rows = pd.read_csv(folder / file).drop(columns="method")
            # counted first: these may be more than fit in memory
            whole = len(rows) == math.prod(map(len, keys.values()))
            if not whole or {*rows[[*keys]].itertuples(index=False, name=None)} != {*product(*keys.values())}:
                raise ValueError("its rows are not those of the run's lambdas, seeds and epochs")
            # stability alone may be infinite: of a model that loses all by pruning
            if not np.isfinite(rows[columns].astype(float).replace({"stability": {np.inf: 1}})).all(axis=None):
                raise ValueError("a number in it is none")
        except (ValueError, KeyError) as error:
            raise RunError(f"{folder / file} can't be read ({error}). {remedy}") from error
    return Run(folder, receipt)


def seal(receipt: Mapping[str, Any]) -> str:
    """sha256 of all that a receipt says: a number changed by hand shows."""
    content = {name: value for name, value in receipt.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum(file: Path) -> str:
    """sha256 of a file."""
    with file.open("rb") as content:  # of gigabytes, where networks are wide
        return hashlib.file_digest(content, "sha256").hexdigest()
