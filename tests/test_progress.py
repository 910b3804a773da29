import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from ccbook import ROOT, perform
from ccbook.machine import progress
from ccbook.records.run import Run


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """A terminal to draw on, and a function that reads what has been drawn since."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    with os.fdopen(theirs, "w") as stream, redirect_stderr(stream):
        yield lambda: os.read(ours, 100_000).decode()
    os.close(ours)


def test_the_line_shows_epoch_loss_and_time_left(tmp_path):
    with terminal() as drawn:
        with progress.bar(tmp_path, "a_direct", 10) as bar:
            time.sleep(1.1)  # to start up is no epoch
            bar.show(1, 2.5)
            time.sleep(1.1)  # a bar is drawn once a second at most
            bar.show(5, 1.25)
        assert "a_direct 50%: epoch 5/10, loss 1.250, 00:01 left" in drawn()


def test_chapters_that_train_at_once_share_the_line_until_they_end(tmp_path):
    other = tmp_path / ".progress" / "other"
    other.parent.mkdir()
    other.write_text("e_linear 30%")
    with terminal() as drawn, progress.bar(tmp_path, "a_direct", 10):
        assert "e_linear 30%" in drawn()
        os.utime(other, (0, 0))  # and a killed one leaves it
        with progress.bar(tmp_path, "c_low_rank", 4):
            assert "e_linear" not in drawn()
    assert [path.name for path in other.parent.iterdir()] == ["other"]


def test_a_line_that_cant_be_shared_ends_no_training(tmp_path):
    (tmp_path / "file").write_text("")
    with terminal() as drawn, progress.bar(tmp_path / "file" / "runs", "a_direct", 10):
        assert "a_direct 0%: epoch 0/10" in drawn()


def test_a_run_that_is_asked_for_twice_is_made_once(small):
    jobs = [("a_direct", small | {"prior_std": std}) for std in (0.2, 0.4, 0.2)]
    with terminal() as drawn:
        made = perform.perform_all(jobs, "cpu")
        assert "0 of 2 runs" in drawn()
    assert made[0] == made[2] != made[1]


def test_of_many_runs_the_line_says_how_many_are_done_and_how_long_the_others_take(small, run):
    jobs = [("a_direct", small | {"prior_std": std}) for std in (0.1, 0.2, 0.4)]  # the first is on record
    with terminal() as drawn:
        made = perform.perform_all(jobs, "cpu")
        said = drawn()
    assert "0 of 3 runs, ? left" in said
    assert re.search("2 of 3 runs, 00:0[0-9] left", said)
    assert "3 of 3 runs, 00:00 left" in said
    assert [one.parameters.prior_std for one in made if isinstance(one, Run)] == [0.1, 0.2, 0.4]


def test_a_log_gets_lines_and_no_control_characters(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as stream, redirect_stderr(stream), progress.bar(tmp_path, "a_direct", 2) as bar:
        bar.show(2, 0.5)
    lines = log.read_text().splitlines()
    assert lines[-1].startswith("a_direct 100%: epoch 2/2, loss 0.500")
    assert "\r" not in log.read_text()
    assert "\x1b" not in log.read_text()


def test_the_kernel_of_a_build_has_nothing_to_say_for_itself(tmp_path):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell("6 * 7")], metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "WARNING"]
    ours = os.environ | {"JUPYTER_PATH": str(ROOT / ".jupyter")}
    done = subprocess.run([*command, "in.ipynb", "out.ipynb"], cwd=tmp_path, env=ours, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "'42'" in str(nbformat.read(tmp_path / "out.ipynb", as_version=4))
