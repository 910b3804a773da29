import json
import multiprocessing
import signal
import subprocess
import sys
import time

import pytest
import torch

from complexity_control import experiment, runs

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
    assert not record.exists()
