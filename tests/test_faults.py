import datetime
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ccbook import ROOT, chapters, perform
from ccbook.machine import workers
from ccbook.records import history, provenance, store, verification
from ccbook.records.run import Run, RunError
from ccbook.wording import assignments
from tests.helpers import CCBOOK, ccbook, ended, living, observed, on_record, resealed

LONG = """
import json, sys
from ccbook import perform
if __name__ == "__main__":
    {}
"""
ONE = 'perform.perform("a_direct", json.loads(sys.argv[1]))'
MANY = 'perform.perform_all([("a_direct", json.loads(sys.argv[1]) | {"seeds": [seed]}) for seed in range(4)], "cpu")'


def start(given: dict, tmp_path, call: str = ONE) -> subprocess.Popen:
    (tmp_path / "long.py").write_text(LONG.replace("{}", call))
    command = [sys.executable, str(tmp_path / "long.py"), json.dumps(given)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


STATES = {
    "imports": lambda process, record: True,
    "first bar": lambda process, record: process.stderr.read(1) == "%",
    "workers": lambda process, record: len(living(process.pid)) >= 1 + 2,
}
KILLS = [
    pytest.param(ONE, state, signum, marks=[] if (state, signum) == ("workers", signal.SIGKILL) else pytest.mark.deep)
    for state in STATES
    for signum in (signal.SIGKILL, signal.SIGINT)
]
KILLS += [pytest.param(MANY, "workers", signum) for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize(("call", "state", "signum"), KILLS)
def test_a_stopped_training_leaves_no_run_and_no_process(small, tmp_path, record, call, state, signum):
    with start(small | {"profile": "paper", "epochs": 100_000}, tmp_path, call) as process:
        observed(lambda: STATES[state](process, record))
        process.send_signal(signum)  # to the parent alone: its workers must notice
        process.wait()
        observed(lambda: not living(process.pid))
    assert on_record() == []


def _until_interrupted() -> Callable[..., None]:
    return lambda: time.sleep(600)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_workers_start_ends_all_once_they_have_started(monkeypatch, signum):
    usual, starts = {s: signal.signal(s, signal.default_int_handler) for s in (signal.SIGTERM, signal.SIGHUP)}, []

    def interrupted(process: SpawnProcess) -> None:
        starts.append(process)
        if len(starts) == 2:
            os.kill(os.getpid(), signum)
        BaseProcess.start(process)

    monkeypatch.setattr(SpawnProcess, "start", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        workers.run(_until_interrupted, [()] * 3, cores=3, on_report=lambda loss: None)
    for number, handler in usual.items():
        signal.signal(number, handler)
    assert len(starts) == 3
    assert [process.exitcode for process in starts] == [-signal.SIGTERM] * 3


def test_a_kill_while_a_run_is_written_leaves_it_whole_or_not_at_all(small, tmp_path, record):
    large = small | {"hidden": [5_000], "epochs": 1}
    with start(large, tmp_path) as process:
        observed(lambda: list(record.glob(".partial-*/posterior.safetensors")))
        process.kill()
    left = on_record()
    assert len(left) <= 1
    whole = perform.perform("a_direct", large)
    assert left in ([], [whole])
    assert on_record() == [whole]


@pytest.mark.deep
def test_the_same_run_started_twice_at_once_is_one_run(small, tmp_path, record):
    both = [start(small, tmp_path) for _ in range(2)]
    assert [bool(process.communicate()[1]) and process.returncode for process in both] == [0, 0]
    (run,) = on_record()
    assert [path.name for path in record.iterdir()] == [run.id]
    assert perform.verify(run).verdict == verification.SAME


@pytest.mark.deep
def test_a_training_that_diverges_on_another_core_says_where(small, record, monkeypatch):
    monkeypatch.setattr(workers, "WORTH_A_PROCESS", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ArithmeticError, match=r"epoch 1 at lambda \S+, seed 0"):
            perform.perform("a_direct", small | {"optimizer": "sgd", "learning_rate": 1e30, "clip": 0})
    finally:
        torch.set_num_threads(threads)
    assert not multiprocessing.active_children()
    assert not store.folders()


@pytest.fixture
def words(small) -> list[str]:
    """A command that makes a run of a second."""
    return ["run", "a", "--set", *assignments({n: v for n, v in small.items() if n not in ("force", "epochs")})[1:]]


def mounted(options: str, command: list[str], record: Path) -> subprocess.CompletedProcess:
    """A command whose record is a file system of its own; at the end the files there are listed."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs a kernel that lets a user mount in a namespace")
    record.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && "$@"; status=$?; ls -A "$0"; exit $status'
    words = ["unshare", "-rm", "sh", "-c", script, str(record), sys.executable, *command]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.deep
def test_too_little_room_is_said_before_the_training(words, record):
    done = mounted("size=64k", [*CCBOOK[1:], *words], record)
    assert done.returncode == 2, done.stderr
    assert re.search(r"has 0\.\d MB free, and this run takes 0\.\d MB", done.stderr)
    assert "epoch" not in done.stderr


@pytest.mark.parametrize("letter", ["a", "c", "g"])
def test_a_run_takes_about_the_room_that_is_asked_for(small, monkeypatch, letter):
    chapter = chapters.METHODS[letter].name
    wide = chapters.defaults(chapter) | {name: small[name] for name in ("dataset", "lambdas", "seeds", "profile")}
    run = perform.perform(chapter, wide | {"hidden": [2_000]})
    taken = sum(file.stat().st_size for file in run.folder.rglob("*.*"))
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(RunError, match="MB free, and this run takes") as refusal:
        perform.perform(chapter, wide | {"hidden": [2_000], "force": True})
    (asked,) = re.findall(r"takes ([\d.]+) MB", str(refusal.value))
    assert taken / 1e6 <= float(asked) + 0.05 <= 1.3 * taken / 1e6


def test_memory_that_runs_out_is_a_failure_and_no_fault_of_ours(words, monkeypatch):
    monkeypatch.setattr(perform, "perform", lambda *_: torch.empty(2**60))
    said = ended(ccbook(*words), 1)
    assert "memory of this machine is too small: a smaller hidden" in said
    assert "Nothing was recorded" in said


@pytest.mark.deep
def test_a_disk_that_fills_during_the_training_leaves_no_run(small, record):
    """Another program takes the room after the check."""
    code = "from ccbook import cli\nfrom ccbook.records import store\nstore.check_place = lambda *_: None\ncli.main()"
    parameters = assignments({n: v for n, v in small.items() if n not in ("force", "epochs")} | {"hidden": [2000]})
    done = mounted("size=64k", ["-c", code, "run", "a", *parameters], record)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "Nothing was recorded" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""  # nothing is left in the record


@pytest.mark.deep
def test_a_record_that_cant_be_written_is_said_before_the_training_and_can_be_read(words, record):
    done = mounted("ro", [*CCBOOK[1:], *words], record)
    assert done.returncode == 2, done.stderr
    assert "can't be written (Read-only file system)" in done.stderr
    assert "epoch" not in done.stderr
    done = mounted("ro", [*CCBOOK[1:], "runs"], record)
    assert done.returncode == 0, done.stderr


def test_a_number_changed_by_hand_in_a_receipt_or_a_table_is_named(small):
    run = perform.perform("a_direct", small)
    for name, old, new, reason in [
        ("receipt.json", '"batch_size": 128', '"batch_size": 129', "was changed after the run"),
        ("receipt.json", run.receipt["data"]["sha256"], "0" * 64, "was changed after the run"),
        ("metrics.csv", "a,0.1,0,", "a,0.1,0,1", "isn't the file of its receipt"),
    ]:
        content = (run.folder / name).read_text()
        assert old in content
        (run.folder / name).write_text(content.replace(old, new, 1))
        with pytest.raises(RunError, match=rf"{name} .*{reason}"):
            perform.perform("a_direct", small)
        (run.folder / name).write_text(content)
    assert perform.perform("a_direct", small) == run


def test_a_record_copied_elsewhere_is_used_as_it_is(small, record, tmp_path, monkeypatch):
    run = perform.perform("a_direct", small)
    moved = shutil.copytree(record, tmp_path / "elsewhere" / "runs")
    shutil.rmtree(record)
    monkeypatch.setenv("CCBOOK_RUNS", str(moved))
    again = perform.perform("a_direct", small)
    assert (again.id, again.receipt) == (run.id, run.receipt)
    assert again.folder.parent == moved


def test_a_run_is_listed_and_shown_where_its_digits_and_its_device_are_not(small, folder):
    run = perform.perform("a_direct", small)
    shutil.rmtree(folder)
    resealed(run, parameters=run.receipt["parameters"] | {"device": "cuda"})  # as a machine with a GPU would
    assert run.id in ended(ccbook("runs"))
    assert "device=cuda" in ended(ccbook("show", run.id))


def test_a_run_under_another_runs_name_is_refused(small, record):
    run = perform.perform("a_direct", small)
    other = perform.perform("a_direct", small | {"prior_std": 2})
    shutil.rmtree(other.folder)
    shutil.copytree(run.folder, other.folder)
    with pytest.raises(RunError, match=f"{other.id} holds the run {run.id}"):
        perform.perform("a_direct", small | {"prior_std": 2})


def test_a_folder_that_lost_its_receipt_is_in_nobodys_way(small, record):
    run = perform.perform("a_direct", small)
    (run.folder / "receipt.json").unlink()
    (run.folder / "left").touch()
    assert on_record() == []
    assert perform.perform("a_direct", small).receipt["artefacts"] == run.receipt["artefacts"]
    assert [path.name for path in record.iterdir()] == [run.id]
    assert not (run.folder / "left").exists()


@pytest.fixture
def other(small) -> Run:
    return perform.perform("a_direct", small | {"prior_std": 2})


def test_rm_holds_whatever_a_kill_has_left(run, other, record):
    """A folder where an earlier removal was killed, and a run that is a link to one elsewhere."""
    (record / f".partial-removed-{run.id}" / "left").mkdir(parents=True)
    elsewhere = other.folder.rename(record.parent / other.id)
    other.folder.symlink_to(elsewhere)
    for each in (run, other):
        assert f"removed {each.id}" in ended(ccbook("rm", each.id))
    assert on_record() == []
    assert (elsewhere / "receipt.json").is_file()  # only the link is this record's


def test_rm_of_a_run_that_another_is_just_removing_removes_the_others(run, other, monkeypatch):
    names = history.full_names

    def removed_meanwhile(given: list[str]) -> list[str]:
        found = names(given)
        shutil.rmtree(run.folder)
        return found

    monkeypatch.setattr(history, "full_names", removed_meanwhile)
    ended(ccbook("rm", run.id, other.id))
    assert on_record() == []


def test_what_a_kill_has_left_is_cleared_a_day_later(run, small, record):
    for name, age in {"old": 25 * 3600, "new": 60}.items():
        (record / f".partial-{name}").mkdir()
        (record / f".partial-{name}" / "metrics.csv").touch()
        os.utime(record / f".partial-{name}", (time.time() - age,) * 2)
    perform.perform("a_direct", small | {"prior_std": 2})
    assert [path.name for path in record.glob(".partial-*")] == [".partial-new"]


def keep_again(made: Run, given: dict) -> None:
    """Finish the same run once more, and put it on record."""
    p, digits, _ = store.resolve("a_direct", given)
    draft = store.draft(p, digits) | {"seconds": 1, "cores": 1, "product_kernels": "none"}
    tables = {"curves": made.curves, "metrics": made.metrics, "history": made.history}
    with store.written(draft, p, made.posterior, tables, {}) as again:
        store.keep(again)


def test_a_run_that_another_process_has_put_on_record_stays(run, small):
    finished = (run.folder / "receipt.json").read_bytes()
    keep_again(run, small)
    assert (run.folder / "receipt.json").read_bytes() == finished
    assert [path.name for path in run.folder.parent.glob("[!.]*")] == [run.id]


@pytest.mark.deep
def test_a_hundred_identical_runs_recorded_at_once_are_one_run(small, record, tmp_path):
    """A hundred processes finish the same run together; a folder without a receipt stands in their way."""
    made = perform.perform("a_direct", small)
    (record / made.id).rename(tmp_path / made.id)
    made = made._replace(folder=tmp_path / made.id)
    (record / made.id).mkdir()
    (record / made.id / "half.csv").touch()
    context = multiprocessing.get_context("forkserver")  # torch is loaded once
    context.set_forkserver_preload(["ccbook.records.store"])
    many = [context.Process(target=keep_again, args=(made, small)) for _ in range(100)]
    for process in many:
        process.start()
    for process in many:
        process.join()
    assert [process.exitcode for process in many] == [0] * 100
    (run,) = on_record()
    assert [path.name for path in record.glob("[!.]*")] == [run.id]
    assert not list(record.glob(".partial-*"))
    assert perform.perform("a_direct", small) == run


@pytest.mark.parametrize("year", [1980, 2100])
def test_a_clock_that_jumps_changes_the_date_of_a_receipt_alone(small, year, monkeypatch):
    class Jumped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Jumped":
            return cls(year, 1, 1, tzinfo=tz)

    with monkeypatch.context() as jumped:
        jumped.setattr(provenance.datetime, "datetime", Jumped)
        run = perform.perform("a_direct", small)
    assert run.receipt["finished"].startswith(str(year))
    assert run.receipt["seconds"] >= 0
    assert perform.verify(run).verdict == verification.SAME
    other = perform.perform("a_direct", small | {"prior_std": 2})
    assert {r.id for r in history.all_runs()[0]} == {run.id, other.id}


@pytest.mark.deep
def test_a_kernel_that_dies_ends_papermill_and_leaves_no_run_and_no_process(small, record, tmp_path):
    long = {"dataset": small["dataset"], "epochs": 100_000, "hidden": "[6]", "seeds": "[0]", "lambdas": "[1]"}
    given = [word for name, value in long.items() for word in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(ROOT / "chapters" / "a_direct.ipynb"), "out.ipynb", *given]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr
        seen = ""
        while "a_direct 0%: epoch" not in seen:
            seen += (more := process.stderr.read(10))
            assert more, "the training never began"
        kernels = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(kernels[0]), signal.SIGKILL)
        said = process.stderr.read()
    assert process.returncode != 0
    assert "DeadKernelError" in said
    assert not living(process.pid)
    assert on_record() == []
