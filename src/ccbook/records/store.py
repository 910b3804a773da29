"""The record of all runs: a folder each, whole or not there."""

import contextlib
import errno
import json
import math
import os
import reprlib
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import save_file

from ccbook import chapters
from ccbook import runs_folder as home
from ccbook.machine.download import load
from ccbook.machine.idx import fingerprint
from ccbook.parameters import FineTuning, Parameters, check, differing
from ccbook.records import run as runs
from ccbook.records.provenance import provenance, sources
from ccbook.records.run import Run, RunError, checksum, read, seal
from ccbook.wording import assignments
from complexity_control.digits import Digits
from complexity_control.posterior import Params, Posterior, shapes, to_flat
from complexity_control.training import sizes

# what a fine-tuning shares with the run that it starts from
SHARED = ("dataset", "lambdas", "seeds", "prior_std", "init_log_std", "hidden", "precision", "device", "profile")


def resolve(chapter: str, values: Mapping[str, Any]) -> tuple[Parameters, Digits, Run | None]:
    """Checked parameters, their digits, and a fine-tuning's start. Raises: ParameterError, DataError, RunError."""
    p = check(chapter, values)
    digits = load(p.dataset, p.device, p.cap.train, p.cap.test)
    if not isinstance(p, FineTuning):
        return p, digits, None
    begin = start(p, digits)
    return p.model_copy(update={"start": begin.id}), digits, begin


def needed(p: Parameters) -> Parameters | None:
    """Parameters of the run that a fine-tuning starts from, unless it names one, or isn't a fine-tuning."""
    if not isinstance(p, FineTuning) or p.start != _source(p):
        return None
    return check(p.start, chapters.defaults(p.start) | {name: value for name, value in p if name in SHARED})


def _source(p: FineTuning) -> str:
    return chapters.METHODS[chapters.METHODS[p.method].start or ""].name


def start(p: FineTuning, digits: Digits | None = None) -> Run:
    """The run that a fine-tuning starts from; without digits, one that it names. Raises: RunError."""
    source, begins = _source(p), needed(p)
    folder = home() / (runs.name(begins, fingerprint(digits)) if begins and digits else p.start)
    if begins and not on_record(folder.name):
        command = shlex.join(["ccbook", "run", source, *assignments(differing(begins))])
        fault = (f"no such run is on record with these settings and {source}'s own epochs. Make it by `{command}`, as "
                 "--with-start does, or name one of its runs")  # fmt: skip
    elif not begins and (Path(p.start).name != p.start or not on_record(p.start)):
        fault = f"no such run is on record: `ccbook runs --method {source}` lists those that there are"
    elif (begin := read(folder)).parameters.chapter != source:
        fault = f"this chapter starts from a run of {source}"
    elif digits and begin.receipt["data"]["sha256"] != fingerprint(digits):
        fault = "that run saw other digits. Give this chapter the same dataset"
    else:
        both = [(n, getattr(begin.parameters, n), getattr(p, n)) for n in ("lambdas", "seeds", "hidden", "prior_std")]
        faults = [f"that run was made with {n} = {theirs}, this chapter is given {ours}. Give it the same, or name "
                  "another run to start from" for n, theirs, ours in both if theirs != ours]  # fmt: skip
        if not faults:
            return begin
        fault = faults[0]
    raise RunError(f"parameter start = {reprlib.repr(p.start)}: {fault}")


def find(p: Parameters, digits: Digits) -> Run | None:
    """The run with these parameters, if it is on record. Raises: RunError if it isn't what its receipt says."""
    return named(runs.name(p, fingerprint(digits)))


def named(name: str) -> Run | None:
    """The run with the name that its parameters and digits give it, if it is on record. Raises: as find."""
    if not on_record(name):
        return None
    if not (found := read(home() / name)).current:
        receipt = home() / name / "receipt.json"
        raise RunError(f"{receipt} has other parameters than the run's name says. Delete the folder")
    return found


def on_record(name: str) -> bool:
    """Whether there is a run of this name, whole or damaged: a folder without a receipt is none."""
    return (home() / name / "receipt.json").is_file()


def folders() -> list[Path]:
    """The folders of all runs, damaged ones too, in the order of their names. Raises: RunError if there is a file."""
    if home().exists() and not home().is_dir():
        raise RunError(f"{home()} is no folder. Change that, or CCBOOK_RUNS")
    return sorted(receipt.parent for receipt in home().glob("[!.]*/receipt.json") if receipt.is_file())


def of_paper(profile: str, device: str = "cpu") -> dict[str, Run]:
    """The runs of a profile's tables, by the method's letter. Raises: as of_book."""
    return {letter: run for letter, run in of_book(profile, device).items() if chapters.METHODS[letter].papers}


def of_book(profile: str, device: str = "cpu") -> dict[str, Run]:
    """The chapters' runs, by the method's letter. Raises: RunError if one is missing or damaged."""
    found: dict[str, Run] = {}
    for letter, chapter in chapters.METHODS.items():
        values = chapters.defaults(chapter.name) | {"profile": profile, "device": device}
        if not (run := find(*resolve(chapter.name, values)[:2])):
            elsewhere = f"snakemake --cores all --config profile={profile} device={device}"
            make = f"make {profile}" if device == "cpu" else elsewhere
            raise RunError(f"chapter {chapter.name} has no run on record with profile {profile}, this code and these "
                           f"digits in {home()}. Run `{make}`, or `ccbook fetch` its run")  # fmt: skip
        found[letter] = run
    return found


def draft(p: Parameters, digits: Digits) -> dict[str, Any]:
    """The beginning of a receipt, and the sources by which the run is to be made."""
    return {
        "run": runs.name(p, fingerprint(digits)),
        "parameters": p.model_dump(mode="json", exclude={"force"}),
        "data": {"sha256": fingerprint(digits), "train": len(digits.train_labels), "test": len(digits.test_labels)},
        "sources": sources(chapters.METHODS[p.method].function),
    }


@contextlib.contextmanager
def written(draft: dict[str, Any], p: Parameters, q: Posterior, tables: Mapping[str, pd.DataFrame],
            hypernetwork: Params) -> Iterator[Run]:  # fmt: skip
    """A finished run in a temporary folder beside the record; `keep` puts it there, and else it is removed."""
    with temporary_folder() as temporary:
        partial = Path(temporary)
        for name, table in tables.items():
            table.to_csv(partial / f"{name}.csv", index=False, lineterminator="\n")
        for name, tensors in {"posterior": to_flat(q), "hypernetwork": hypernetwork}.items():
            if tensors:
                file = partial / f"{name}.safetensors"
                try:
                    save_file({n: t.cpu().contiguous() for n, t in tensors.items()}, file)
                except SafetensorError as error:  # a full disk, as this library says it
                    raise OSError(str(error)) from error
                file.chmod(0o644)  # safetensors closes its files to others, and tempfile its folders
        for path, text in draft.pop("sources").items():
            (partial / "science" / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / "science" / path).write_text(text)
        files = {str(file.relative_to(partial)): checksum(file) for file in partial.rglob("*") if file.is_file()}
        receipt = draft | provenance(p.device) | {"artefacts": dict(sorted(files.items()))}
        receipt["seal"] = seal(receipt)
        (partial / "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n")
        partial.chmod(0o755)
        yield Run(partial, receipt)


def keep(run: Run) -> Run:
    """Put a finished run on record: its folder appears whole, under its final name, in one step.

    One that is there already stays: it has the same key, so the same numbers.
    """
    folder = home() / run.id
    while not on_record(run.id):
        try:
            run.folder.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            with temporary_folder() as aside, contextlib.suppress(FileNotFoundError):  # without a receipt it is no run
                folder.rename(Path(aside) / run.id)
    return read(folder)


def temporary_folder() -> tempfile.TemporaryDirectory:
    """A temporary folder beside the record, which is made if there is none. Raises: RunError if that can't be."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        for left in home().glob(".partial-*"):  # to write a run takes seconds: after a day its process was killed
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > 24 * 3600:
                    shutil.rmtree(left, ignore_errors=True)
        return tempfile.TemporaryDirectory(prefix=".partial-", dir=home(), ignore_cleanup_errors=True)
    except OSError as error:
        raise RunError(f"{home()} can't be written ({error.strerror}). Change that, or CCBOOK_RUNS") from error


def check_allowed(p: Parameters, digits: Digits) -> None:
    """Raises: RunError where nothing is to be trained."""
    if os.environ.get("CCBOOK_NEVER_TRAIN"):
        if on_record(name := runs.name(p, fingerprint(digits))):
            raise RunError(f"{name} is on record, and isn't trained again while CCBOOK_NEVER_TRAIN is set")
        raise RunError(f"{name} isn't on record, and nothing is to be trained: `ccbook fetch FILE` adds published "
                       f"runs, and `make {p.profile}` trains")  # fmt: skip


def check_place(p: Parameters, digits: Digits, trained: int) -> None:
    """Before hours of training: can a run be recorded at all, and is there room for it?

    Args: trained, how many numbers a hypernetwork has. Raises: RunError.
    """
    weights = sum(map(math.prod, shapes(sizes(digits, p.settings)).values()))
    # in float32 the means and log deviations for each lambda, and the hypernetwork; tables, sources
    needed = 4 * len(p.seeds) * (2 * weights * len(p.lambdas) + trained) + 150_000
    with temporary_folder():
        free = shutil.disk_usage(home()).free
    if free < needed:
        room = f"{free / 1e6:,.1f} MB free, and this run takes {needed / 1e6:,.1f} MB"
        raise RunError(f"{home()} has {room}. Make room, or set CCBOOK_RUNS to another folder")
