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
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from complexity_control import experiment, registry, runs
from complexity_control.cli import main
from complexity_control.data import ROOT
from complexity_control.runs import RunError
from tests.test_cli import ended

LONG = """
import json, sys
from complexity_control import experiment
if __name__ == "__main__":
    experiment.perform("a_direct", json.loads(sys.argv[1]))
"""


@pytest.fixture
def small(given, folder):
    return given | {"dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0], "hidden": [6]}


def start(given: dict, tmp_path) -> subprocess.Popen:
    (tmp_path / "long.py").write_text(LONG)
    return subprocess.Popen([sys.executable, str(tmp_path / "long.py"), json.dumps(given)], start_new_session=True)


def living(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-g", str(group)], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if " Z" not in line]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("seconds", [1, 4, 7])
def test_a_stopped_training_leaves_no_run_and_no_process(small, tmp_path, record, signum, seconds):
    long = small | {"profile": "paper", "epochs": 100_000, "seeds": [0]}
    process = start(long, tmp_path)
    time.sleep(seconds)
    process.send_signal(signum)  # to the parent alone: its workers must notice
    process.wait()
    for _ in range(100):
        if not living(process.pid):
            break
        time.sleep(0.1)
    assert not living(process.pid)
    assert list(runs.recorded()) == []


def test_the_same_run_started_twice_at_once_is_one_run(small, tmp_path, record):
    both = [start(small, tmp_path) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    (run,) = runs.recorded()
    assert [path.name for path in record.iterdir()] == [run.id]
    again = experiment.perform("a_direct", small | {"force": True})
    assert again.receipt["artefacts"] == run.receipt["artefacts"]


def test_a_training_that_diverges_on_another_core_says_where(small, record, monkeypatch):
    monkeypatch.setattr(experiment, "WORTH_A_PROCESS", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ArithmeticError, match=r"epoch 1 at lambda \S+, seed 0"):
            experiment.perform("a_direct", small | {"optimizer": "sgd", "learning_rate": 1e30, "clip": 0})
    finally:
        torch.set_num_threads(threads)
    assert not multiprocessing.active_children()
    assert not runs.folders()


@pytest.fixture
def words(small) -> list[str]:
    """A command that makes a run of a second."""
    return ["run", "a", "--set", *registry.assignments({n: v for n, v in small.items() if n != "force"})[1:]]


def mounted(options: str, command: list[str], record: Path) -> subprocess.CompletedProcess:
    """A command whose record is a file system of its own; at the end the files there are listed."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs a kernel that lets a user mount in a namespace")
    record.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && "$@"; status=$?; ls -A "$0"; exit $status'
    words = ["unshare", "-rm", "sh", "-c", script, str(record), sys.executable, *command]
    return subprocess.run(words, capture_output=True, text=True)


CCBOOK = ["-m", "complexity_control.cli"]


def test_too_little_room_is_said_before_the_training(words, record):
    done = mounted("size=64k", [*CCBOOK, *words], record)
    assert done.returncode == 2, done.stderr
    assert re.search(r"has 0\.\d MB free, and this run takes 0\.1 MB", done.stderr)
    assert "epoch" not in done.stderr


def test_a_disk_that_fills_during_the_training_leaves_no_run(small, record):
    """Another program takes the room after the check."""
    code = "from complexity_control import cli, runs\nruns.check_place = lambda *_: None\ncli.main()"
    parameters = registry.assignments({n: v for n, v in small.items() if n != "force"} | {"hidden": [2000]})
    done = mounted("size=64k", ["-c", code, "run", "a", *parameters], record)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "Nothing was recorded" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""  # nothing is left in the record


def test_a_record_that_cant_be_written_is_said_before_the_training_and_can_be_read(words, record):
    done = mounted("ro", [*CCBOOK, *words], record)
    assert done.returncode == 2, done.stderr
    assert "can't be written (Read-only file system)" in done.stderr
    assert "epoch" not in done.stderr
    done = mounted("ro", [*CCBOOK, "runs"], record)
    assert done.returncode == 0, done.stderr


def test_a_number_changed_by_hand_in_a_receipt_or_a_table_is_named(small):
    run = experiment.perform("a_direct", small)
    for name, old, new, reason in [
        ("receipt.json", '"batch_size": 128', '"batch_size": 129', "was changed after the run"),
        ("receipt.json", run.receipt["data"]["sha256"], "0" * 64, "was changed after the run"),
        ("metrics.csv", "a,0.1,0,", "a,0.1,0,1", "isn't the file of its receipt"),
    ]:
        content = (run.folder / name).read_text()
        assert old in content
        (run.folder / name).write_text(content.replace(old, new, 1))
        with pytest.raises(RunError, match=rf"{name} .*{reason}"):
            experiment.perform("a_direct", small)
        (run.folder / name).write_text(content)
    assert experiment.perform("a_direct", small) == run


def test_a_record_copied_elsewhere_is_used_as_it_is(small, record, tmp_path, monkeypatch):
    run = experiment.perform("a_direct", small)
    moved = shutil.copytree(record, tmp_path / "elsewhere" / "runs")
    shutil.rmtree(record)
    monkeypatch.setenv("CCBOOK_RUNS", str(moved))
    again = experiment.perform("a_direct", small)
    assert (again.id, again.receipt) == (run.id, run.receipt)
    assert again.folder.parent == moved


def test_a_run_is_listed_and_shown_where_its_digits_and_its_device_are_not(small, folder, monkeypatch):
    run = experiment.perform("a_direct", small)
    shutil.rmtree(folder)
    receipt = run.receipt | {"parameters": run.receipt["parameters"] | {"device": "cuda"}}
    receipt["seal"] = runs._seal(receipt)  # as a machine with a GPU would have written it
    (run.folder / "receipt.json").write_text(json.dumps(receipt))
    assert run.id in ended(CliRunner().invoke(main, ["runs"]))
    assert "device=cuda" in ended(CliRunner().invoke(main, ["show", run.id]))


def test_a_run_under_another_runs_name_is_refused(small, record):
    run = experiment.perform("a_direct", small)
    other = experiment.perform("a_direct", small | {"prior_std": 2})
    shutil.rmtree(other.folder)
    shutil.copytree(run.folder, other.folder)
    with pytest.raises(RunError, match=f"{other.id} holds the run {run.id}"):
        experiment.perform("a_direct", small | {"prior_std": 2})


def test_a_folder_that_lost_its_receipt_is_in_nobodys_way(small, record):
    run = experiment.perform("a_direct", small)
    (run.folder / "receipt.json").unlink()
    assert list(runs.recorded()) == []
    assert experiment.perform("a_direct", small).receipt["artefacts"] == run.receipt["artefacts"]


def test_a_kill_while_a_run_is_replaced_loses_neither(small, record):
    """Between the two renames of a forced run, the old one stands aside."""
    run = experiment.perform("a_direct", small)
    run.folder.rename(record / f".replaced-{run.id}-abc")
    assert [whole.id for whole in runs.recorded()] == [run.id]
    run.folder.rename(record / f".replaced-{run.id}-abc")
    assert experiment.perform("a_direct", small) == run
    assert [path.name for path in record.iterdir()] == [run.id]


def record_again(folder: Path, made: runs.Run, given: dict) -> None:
    p, digits, _ = runs.resolve("a_direct", given)
    tables = {"curves": made.curves, "metrics": made.metrics}
    runs.store(folder, p, digits, made.posterior, tables, {}, seconds=1, cores=1, kernels="none")


def test_a_hundred_identical_runs_recorded_at_once_are_one_run(small, record, tmp_path):
    """A hundred processes finish the same run together; every second one replaces what it finds."""
    made = experiment.perform("a_direct", small)
    made = made._replace(folder=made.folder.rename(tmp_path / made.id))
    context = multiprocessing.get_context("forkserver")  # torch is loaded once
    context.set_forkserver_preload(["complexity_control.runs"])
    given = [small | {"force": k % 2 == 0} for k in range(100)]
    many = [context.Process(target=record_again, args=(record / made.id, made, each)) for each in given]
    for process in many:
        process.start()
    for process in many:
        process.join()
    assert [process.exitcode for process in many] == [0] * 100
    (run,) = runs.recorded()
    assert [path.name for path in record.iterdir()] == [run.id]
    assert experiment.perform("a_direct", small) == run


@pytest.mark.parametrize("year", [1980, 2100])
def test_a_clock_that_jumps_changes_the_date_of_a_receipt_alone(small, year, monkeypatch):
    run = experiment.perform("a_direct", small)

    class Jumped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Jumped":
            return cls(year, 1, 1, tzinfo=tz)

    monkeypatch.setattr(runs.datetime, "datetime", Jumped)
    again = experiment.perform("a_direct", small | {"force": True})
    assert again.receipt["finished"].startswith(str(year))
    assert again.receipt["artefacts"] == run.receipt["artefacts"]
    other = experiment.perform("a_direct", small | {"prior_std": 2})
    assert {r.id for r in registry.every()[0]} == {run.id, other.id}
    assert again.receipt["seconds"] >= 0


def test_a_kernel_that_dies_ends_papermill_and_leaves_no_run_and_no_process(small, record, tmp_path):
    long = {"dataset": small["dataset"], "epochs": 100_000, "hidden": "[6]", "seeds": "[0]", "lambdas": "[1]"}
    given = [word for name, value in long.items() for word in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(ROOT / "chapters" / "a_direct.ipynb"), "out.ipynb", *given]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr
        told = ""
        while "a_direct 0%: epoch" not in told:
            told += (more := process.stderr.read(10))
            assert more, "the training never began"
        kernels = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(kernels[0]), signal.SIGKILL)
        said = process.stderr.read()
    assert process.returncode != 0
    assert "DeadKernelError" in said
    assert not living(process.pid)
    assert list(runs.recorded()) == []
