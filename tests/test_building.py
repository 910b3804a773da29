"""The whole way from the digits to the pages, in a copy of the project, killed on the way and built again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ccbook import ROOT, chapters
from tests.helpers import observed, on_record

pytestmark = pytest.mark.deep

STATES: dict[str, Callable[[Path], object]] = {  # of a build, that can be seen from outside
    "a training shows its progress": lambda copy: "%: epoch 0/" in (copy / "build.log").read_text(),
    "a run is on record, and its page is being written": lambda copy: (
        list(copy.glob("book/runs/[!.]*/receipt.json")) and list(copy.glob("book/quick/notebooks/*.*.ipynb"))
    ),
    "the pages are being rendered": lambda copy: list(copy.glob("book/quick/build/_build/html/*.html")),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project without anything that was made in it."""
    folder = tmp_path / "project"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def build(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.Popen]:
    """Start Snakemake in the copy, with the copy's own packages and record."""
    monkeypatch.setenv("CCBOOK_RUNS", str(copy / "book" / "runs"))
    monkeypatch.setenv("CCBOOK_DATA", os.environ.get("CCBOOK_DATA", str(ROOT / "data")))
    monkeypatch.setenv("PYTHONPATH", str(copy / "src"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", "--rerun-incomplete"]

    def started(*words: str) -> subprocess.Popen:
        with (copy / "build.log").open("w") as log:
            whole = [*command, "--config", "profile=quick", *words]
            return subprocess.Popen(whole, cwd=copy, stdout=log, stderr=log, start_new_session=True)

    return started


def test_a_build_in_spite_of_kills_is_whole_and_a_changed_byte_stops_the_next_and_takes_nothing_away(copy, build):
    log = copy / "build.log"
    for state, seen in STATES.items():
        process = build()
        observed(lambda: seen(copy) or process.poll() is not None, 600)  # noqa: B023 - called in this turn alone
        assert process.poll() is None, f"it ended before {state}: {log.read_text()[-5_000:]}"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for page in copy.glob("book/quick/notebooks/*.ipynb"):
            assert page.suffixes != [".ipynb"] or json.loads(page.read_text())["cells"]
        assert all(run.current for run in on_record())
        assert not list(copy.glob("book/quick/html/*.html"))
    assert build().wait() == 0, log.read_text()[-5_000:]
    assert {run.parameters.chapter for run in on_record()} == set(chapters.names())
    assert (copy / "book" / "quick" / "html" / "index.html").is_file()
    for path in (ROOT / "chapters").iterdir():
        assert path.is_dir() or (copy / "chapters" / path.name).read_bytes() == path.read_bytes()

    (metrics, *_) = sorted(copy.glob("book/runs/a_direct-*/metrics.csv"))
    content = metrics.read_bytes()
    metrics.write_bytes(content.replace(b"a,", b"b,", 1))
    assert build("--forcerun", "site").wait() != 0
    assert f"{metrics.parent.name}/metrics.csv" in log.read_text()

    table = copy / "book" / "quick" / "results" / "table1.csv"
    before = table.read_bytes()
    assert build("--forcerun", "results").wait() != 0
    assert table.read_bytes() == before


def test_a_page_of_a_run_that_was_taken_off_the_record_is_made_again_and_no_other(copy, build):
    there, gone = "a_direct-000000000001", "b_direct_one_epoch-000000000002"
    notebooks, recorded = copy / "book" / "quick" / "notebooks", copy / "book" / "runs" / there
    for name in (there, gone):
        page = notebooks / f"{name.partition('-')[0]}.ipynb"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"Run `{name}`")
    recorded.mkdir(parents=True)
    (recorded / "receipt.json").write_text("{}")
    assert build("--dry-run").wait() == 0, (copy / "build.log").read_text()
    assert [page.name for page in notebooks.iterdir()] == ["a_direct.ipynb"]
