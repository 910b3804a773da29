"""The sweeps on record: a file beside the runs for each, with its grid and the names of its runs."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ccbook.records import store
from ccbook.records.run import NAME


class Sweep(BaseModel):
    """What a sweep was to make and has made; validated when read, because it lands on a page."""

    model_config = ConfigDict(strict=True)

    name: str = Field(pattern=r"^sweep-[a-z0-9_]{1,60}-[0-9a-f]{12}$")  # of its file and of its page
    file: str = Field(pattern=r"^[\w .-]{1,200}$")  # the grid's, without its folder
    grid: str = Field(max_length=1_000_000)
    runs: list[Annotated[str, Field(pattern=f"^{NAME}$")]]
    missing: list[str]  # commands of the runs that failed or weren't begun


def keep(file: Path, grid: str, jobs: Iterable[str], runs: list[str], missing: list[str]) -> Sweep:
    """Put a sweep on record; one of the same jobs is replaced, whatever file it stands in."""
    stem = re.sub(r"[^a-z0-9]+", "_", file.stem.lower())[:60] or "_"
    sha256 = hashlib.sha256(" ".join(sorted(jobs)).encode()).hexdigest()
    shown = re.sub(r"[^\w .-]", "_", file.name)[-200:]
    sweep = Sweep(name=f"sweep-{stem}-{sha256[:12]}", file=shown, grid=grid, runs=runs, missing=missing)
    partial = store.home() / f".{sweep.name}.{os.getpid()}"
    partial.write_text(sweep.model_dump_json(indent=2) + "\n")
    partial.replace(store.home() / f"{sweep.name}.json")  # which gives the folder another time, as a new run does
    return sweep


def all_sweeps() -> tuple[list[Sweep], list[str]]:
    """All sweeps on record, and what is wrong with those that can't be read; a part of another sweep is left out."""
    found, faults = [], []
    for file in sorted(store.home().glob("sweep-*.json")):
        try:
            sweep = Sweep.model_validate_json(file.read_text())
            if sweep.name != file.stem:
                raise ValueError(f"it holds {sweep.name}")
            found.append(sweep)
        except (OSError, ValueError) as error:
            faults.append(f"{file.name} can't be read ({' '.join(str(error).split())}). Delete it")
    return [one for one in found if not any(set(one.runs) < set(other.runs) for other in found)], faults
