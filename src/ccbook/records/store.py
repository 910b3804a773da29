"""The record of all runs: a folder each, whole or not there."""

import contextlib
import errno
import itertools
import json
import os
import reprlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import save_file

from ccbook import ROOT, chapters
from ccbook.machine.download import load
from ccbook.parameters import FineTuning, Hypernetwork, Parameters, check
from ccbook.records import run as runs
from ccbook.records.provenance import provenance
from ccbook.records.run import Run, RunError, checksum, read, seal
from complexity_control.digits import Digits
from complexity_control.posterior import Params, Posterior, to_flat

# what a fine-tuning shares with the run that it starts from
SHARED = ("dataset", "lambdas", "seeds", "prior_std", "init_log_std", "hidden", "precision", "device", "profile")


def home() -> Path:
    """The folder of all runs: CCBOOK_RUNS, or book/runs."""
    return Path(os.environ.get("CCBOOK_RUNS", ROOT / "book" / "runs"))


def resolve(chapter: str, values: Mapping[str, Any]) -> tuple[Parameters, Digits, Run | None]:
    """Checked parameters, the digits that they name, and the run that a fine-tuning starts from.

    Raises: ParameterError, DataError, RunError.
    """
    p = check(chapter, values)
    digits = load(p.dataset, p.device, p.cap.train, p.cap.test)
    if not isinstance(p, FineTuning):
        return p, digits, None
    begin = _start(p, digits)
    return p.model_copy(update={"start": begin.id}), digits, begin


def needed(p: Parameters) -> Parameters | None:
    """Parameters of the run that a fine-tuning starts from, unless it names one, or isn't a fine-tuning."""
    if not isinstance(p, FineTuning) or p.start != _source(p):
        return None
    return check(p.start, chapters.defaults(p.start) | {name: value for name, value in p if name in SHARED})


def _source(p: FineTuning) -> str:
    return chapters.METHODS[chapters.METHODS[p.method].start or ""].name


def _start(p: FineTuning, digits: Digits) -> Run:
    source, begins = _source(p), needed(p)
    folder = home() / (runs.name(begins, digits.checksum) if begins else p.start)
    fault = f"parameter start = {reprlib.repr(p.start)}: "
    if (not begins and Path(p.start).name != p.start) or not (folder / "receipt.json").is_file():
        raise RunError(
            f"{fault}no such run is on record with these settings. Execute chapter {source} with the same "
            f"{', '.join(SHARED)}, or name one of its runs"
        )
    begin = read(folder)
    if begin.parameters.chapter != source:
        raise RunError(f"{fault}this chapter starts from a run of {source}")
    for name in ("lambdas", "seeds", "hidden", "prior_std"):
        theirs, ours = getattr(begin.parameters, name), getattr(p, name)
        if theirs != ours:
            raise RunError(
                f"{fault}that run was made with {name} = {theirs}, this chapter is given {ours}. Give it the same, or "
                "name another run to start from"
            )
    if begin.receipt["data"]["sha256"] != digits.checksum:
        raise RunError(f"{fault}that run saw other digits. Give this chapter the same dataset")
    return begin


def find(p: Parameters, digits: Digits) -> Run | None:
    """The run with these parameters, if it is on record.

    Raises: RunError if it is there but isn't what its receipt says.
    """
    folder = home() / runs.name(p, digits.checksum)
    return read(folder) if (folder / "receipt.json").is_file() else None


def folders() -> list[Path]:
    """The folders of all runs, damaged ones too, in the order of their names."""
    return sorted(receipt.parent for receipt in home().glob("[!.]*/receipt.json"))


def of_profile(profile: str, device: str = "cpu") -> dict[str, Run]:
    """The runs that a profile's tables stand on, by the letter of the method.

    Raises: RunError if one is missing or damaged.
    """
    found: dict[str, Run] = {}
    for letter, chapter in chapters.METHODS.items():
        values = chapters.defaults(chapter.name) | {"profile": profile, "device": device}
        p, digits, _ = resolve(chapter.name, values)
        run = find(p, digits)
        if run is None:
            raise RunError(
                f"chapter {chapter.name} has no run on record with profile {profile}, the code as it stands and this "
                f"data. Run `make {profile}`, or execute the chapter"
            )
        found[letter] = run
    return found


def draft(p: Parameters, digits: Digits) -> dict[str, Any]:
    """The beginning of a receipt, and the sources by which the run is to be made."""
    return {
        "run": runs.name(p, digits.checksum),
        "parameters": p.model_dump(mode="json", exclude={"force"}),
        "data": {"sha256": digits.checksum, "train": len(digits.train_labels), "test": len(digits.test_labels)},
        "sources": runs.sources(p),
    }


@contextlib.contextmanager
def written(
    draft: dict[str, Any], p: Parameters, q: Posterior, tables: Mapping[str, pd.DataFrame], hypernetwork: Params
) -> Iterator[Run]:
    """A finished run in a temporary folder beside the record; `keep` puts it there, and else it is removed."""
    sources = draft.pop("sources")
    home().mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=home()))
    try:
        for name, table in tables.items():
            table.to_csv(partial / f"{name}.csv", index=False, lineterminator="\n")
        for name, tensors in {"posterior": to_flat(q), "hypernetwork": hypernetwork}.items():
            if tensors:
                file = partial / f"{name}.safetensors"
                save_file({n: t.cpu().contiguous() for n, t in tensors.items()}, file)
                file.chmod(0o644)  # safetensors closes its files to others, and mkdtemp its folders
        for path, text in sources.items():
            (partial / "science" / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / "science" / path).write_text(text)
        files = {str(file.relative_to(partial)): checksum(file) for file in partial.rglob("*") if file.is_file()}
        receipt = draft | provenance(p.device) | {"artefacts": dict(sorted(files.items()))}
        receipt["seal"] = seal(receipt)
        (partial / "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n")
        partial.chmod(0o755)
        yield Run(partial, receipt)
    except SafetensorError as error:  # a full disk, as this library says it
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def keep(run: Run) -> Run:
    """Put a finished run on record: its folder appears whole, under its final name, in one step.

    One that is there already stays: it has the same key, so the same numbers.
    """
    folder = home() / run.id
    while not (folder / "receipt.json").is_file():
        try:
            run.folder.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            with contextlib.suppress(FileNotFoundError):  # without a receipt it is no run
                folder.rename(run.folder / "in-the-way")
    return read(folder)


def check_place(p: Parameters, digits: Digits) -> None:
    """Before hours of training: can a run be recorded at all, and is there room for it?

    Raises: RunError.
    """
    layers = [digits.train_images.shape[1], *p.hidden, digits.classes]
    weights = sum((a + 1) * b for a, b in itertools.pairwise(layers))
    # means and log deviations in float32, for each lambda and, of a hypernetwork, at most twice more; tables, sources
    needed = 8 * weights * len(p.seeds) * (len(p.lambdas) + 2 * isinstance(p, Hypernetwork)) + 150_000
    remedy = "or set CCBOOK_RUNS to another folder"
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=home()):
            free = shutil.disk_usage(home()).free
    except OSError as error:
        raise RunError(
            f"{home()} can't be written ({error.strerror}), so no run can be recorded. Change that, {remedy}"
        ) from error
    if free < needed:
        raise RunError(
            f"{home()} has {free / 1e6:,.1f} MB free, and this run takes {needed / 1e6:,.1f} MB. Make room, {remedy}"
        )
