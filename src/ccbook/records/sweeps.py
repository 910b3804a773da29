"""The sweeps on record: a file beside the runs for each, with its grid and the names of its runs."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ccbook.parameters import format_errors
from ccbook.records import store
from ccbook.records.run import NAME

SWEEP = "sweep-[a-z0-9_]{1,60}-[0-9a-f]{12}"  # name of a file, without its ending, and of a page


class Sweep(BaseModel):
    """What a sweep was to make and has made; validated when read, because it lands on a page."""

    model_config = ConfigDict(strict=True)

    name: str = Field(pattern=f"^{SWEEP}$")
    file: str = Field(pattern=r"^[\w .-]{1,200}$")  # the grid's, without its folder
    grid: str = Field(max_length=1_000_000)
    runs: list[Annotated[str, Field(pattern=f"^{NAME}$")]]
    missing: list[str]  # commands of the runs that failed or weren't begun


def keep(file: Path, grid: str, jobs: Iterable[str], runs: list[str], missing: list[str]) -> Sweep:
    """Put a sweep on record; one of the same jobs is replaced, whatever file it stands in."""
    stem = re.sub(r"[^a-z0-9]+", "_", file.stem.lower())[:60] or "_"
    sha256 = hashlib.sha256(" ".join(sorted(jobs)).encode()).hexdigest()
    shown = "".join(c if c.isalpha() or c.isdecimal() or c in " .-" else "_" for c in file.name)[-200:]
    kept = put(Sweep(name=f"sweep-{stem}-{sha256[:12]}", file=shown, grid=grid, runs=runs, missing=missing))
    for other in store.home().glob(f"sweep-*-{sha256[:12]}.json"):
        if other.stem != kept.name:
            other.unlink(missing_ok=True)
    return kept


def put(sweep: Sweep) -> Sweep:
    """Write it to its file, whole."""
    partial = store.home() / f".{sweep.name}.{os.getpid()}"
    partial.write_text(sweep.model_dump_json(indent=2) + "\n")
    partial.replace(store.home() / f"{sweep.name}.json")  # which gives the folder another time, as a new run does
    return sweep


def all_sweeps() -> tuple[list[Sweep], list[str]]:
    """All sweeps on record, and what is wrong with those that can't be read; a part of another sweep is left out."""
    found, faults = with_parts()
    return [one for one in found if not any(set(one.runs) < set(other.runs) for other in found)], faults


def with_parts() -> tuple[list[Sweep], list[str]]:
    """As all_sweeps, with those that are a part of another."""
    found, faults = [], []
    for file in sorted(store.home().glob("sweep-*.json")):
        try:
            found.append(read(file))
        except (OSError, ValueError) as error:
            faults.append(f"{file.name} can't be read ({' '.join(str(error).split())}). Delete it")
    return found, faults


def read(file: Path) -> Sweep:
    """Raises: OSError, ValueError."""
    try:
        sweep = Sweep.model_validate_json(file.read_text())
    except ValidationError as error:
        raise ValueError("; ".join(format_errors(error, "entry"))) from error
    if sweep.name != file.stem:
        raise ValueError(f"it holds {sweep.name}")
    return sweep


def of_only(runs: Iterable[str]) -> list[Sweep]:
    """The sweeps of which all runs on record are among these, and some are; without their other runs."""
    found = ((one, [run for run in one.runs if store.on_record(run)]) for one in with_parts()[0])
    return [one.model_copy(update={"runs": own}) for one, own in found if own and {*own} <= {*runs}]


def remove_empty() -> None:
    """Take the sweeps off the record of which no run is on it."""
    for file in store.home().glob("sweep-*.json"):
        with contextlib.suppress(OSError, ValueError):  # what is damaged is said, not removed
            if not any(map(store.on_record, read(file).runs)):
                file.unlink()
