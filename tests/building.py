"""A copy of the project whose site is built for the tests, once for all of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from complexity_control.data import ROOT

KILLED_AFTER = (3, 9, 15)  # seconds


def copy_of_the_project(folder: Path) -> Path:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment(project: Path) -> dict[str, str]:
    ours = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "CCBOOK_DATA": os.environ.get("CCBOOK_DATA", str(ROOT / "data")),
    }
    return {name: value for name, value in os.environ.items() if name != "CCBOOK_RUNS"} | ours


def build(project: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--nolock",
        "--rerun-incomplete",
        "--config",
        "profile=quick",
    ]
    with (project / "build.log").open("a") as log:
        return subprocess.Popen(
            command, cwd=project, env=environment(project), stdout=log, stderr=log, start_new_session=True
        )


def build_in_spite_of_kills(copy: Path) -> None:
    """Build the site, killed a few times on the way, and then to its end."""
    copy_of_the_project(copy)
    for seconds in KILLED_AFTER:
        process = build(copy)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process = build(copy)
    assert process.wait() == 0, (copy / "build.log").read_text()[-5_000:]
    (copy / "built").touch()
