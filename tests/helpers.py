"""What the tests do to runs, commands and processes."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from ccbook import ROOT
from ccbook.cli import main
from ccbook.records import store
from ccbook.records.run import Run, checksum, read, seal

CCBOOK = [sys.executable, "-m", "ccbook.cli"]


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format's definition: zeros, type 8, number of axes, lengths as big-endian integers, bytes."""
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def ccbook(*words: object) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def ended(result: Result, status: int = 0) -> str:
    """What a command said, once its exit status is as expected."""
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


def on_record() -> list[Run]:
    """All runs on record, each of them whole."""
    return [read(folder) for folder in store.folders()]


def resealed(run: Run, files: Mapping[str, str] = {}, /, **changes: Any) -> Run:
    """The run as another machine might have recorded it: with other files and another receipt, rightly sealed."""
    for name, text in files.items():
        (run.folder / name).write_text(text)
    sums = {name: checksum(run.folder / name) for name in run.receipt["artefacts"]}
    receipt = run.receipt | {"artefacts": sums} | changes
    folder = run.folder.rename(run.folder.with_name(receipt["run"]))
    (folder / "receipt.json").write_text(json.dumps(receipt | {"seal": seal(receipt)}))
    return read(folder)


def like(run: Run, name: str, files: Mapping[str, str] = {}, /, **changes: Any) -> Run:
    """A second run beside the first, of another name, with other files and another receipt."""
    twin = Run(shutil.copytree(run.folder, run.folder.with_name(name)), run.receipt)
    return resealed(twin, files, run=name, **changes)


def copy_of_the_project(folder: Path) -> Path:
    """All that git keeps or would keep of the project, in another folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def observed(state: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until a state can be seen."""
    end = time.monotonic() + seconds
    while not (seen := state()):
        assert time.monotonic() < end, "it was never seen"
        time.sleep(0.002)
    return seen


def living(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-g", str(group)], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if " Z" not in line]


def naming(folder: Path) -> set[str]:
    """The other processes whose command or environment names a folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text and int(process.name) != os.getpid():
            found.add(process.name)
    return found
