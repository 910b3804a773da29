import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from complexity_control import experiment, runs, sweep
from complexity_control.cli import main
from complexity_control.data import ROOT
from complexity_control.sweep import SweepError
from tests.test_cli import ended

GRID = """
methods: [a]
datasets: [{folder}]
set: {{profile: quick, hidden: [4], epochs: 1}}
product:
  lambdas: [[0.1], [1], [10], [100]]
  prior_std: [0.1, 1.0]
  batch_size: [50, 100, 200]
"""


def command(file: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "complexity_control.cli", "sweep", str(file), *words]


@pytest.fixture
def grid(tmp_path, folder):
    """A file with the sweep, its tail replaced by other lines if asked."""

    def written(tail: str | None = None) -> Path:
        text = GRID.format(folder=folder)
        file = tmp_path / "grid.yaml"
        file.write_text(text if tail is None else text[: text.index("product:")] + tail)
        return file

    return written


def test_a_grid_is_each_method_with_each_dataset_and_combination(folder):
    jobs = sweep.plan(f"""
- methods: [a, e_linear]
  datasets: [{folder}, MNIST]
  set: {{profile: quick}}
  product: {{prior_std: [1, 2, 3]}}
- methods: [b]
  list: [{{optimizer: sgd, learning_rate: 0.05}}, {{batch_size: 64}}]
""")
    assert len(jobs) == 2 * 2 * 3 + 2
    assert {job.parameters.optimizer for job in jobs.values() if job.parameters.method == "b"} == {"sgd", "adam"}


def test_a_combination_that_comes_twice_is_one_run():
    assert len(sweep.plan("[{methods: [a, a_direct]}, {methods: [a], set: {epochs: 25}}]")) == 1


def test_a_fine_tuning_brings_the_run_that_it_starts_from():
    jobs = sweep.plan("{methods: [d], set: {hidden: [50]}, product: {epochs: [1, 2]}}")
    assert [job.parameters.method for job in jobs.values()] == ["c", "d", "d"]
    start = next(iter(jobs))
    assert jobs[start].parameters.hidden == (50,)
    assert [job.needs for job in jobs.values()] == [None, start, start]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there must be an entry with `methods`"),
        ("a", "there must be an entry with `methods`"),
        ("methods: [", "this is no YAML"),
        ("methods: !!python/object/apply:os.system ['true']", "this is no YAML"),
        ("methods: [a]\nmethods: [b]", "a key comes twice"),
        ("method: [a]", "entry 1, parameter 'methods' is missing"),
        ("{methods: [a], produkt: {}}", "entry 1, parameter produkt"),
        ("methods: []", "at least 1 item"),
        ("methods: [g]", "no method 'g'"),
        ("methods: [a_direkt]", "did you mean 'a_direct'"),
        ("{methods: [a], set: {epoch: 1}}", "unknown parameter 'epoch': did you mean 'epochs'"),
        ("{methods: [a], product: {epochs: 3}}", "entry 1, parameter product.epochs = 3"),
        ("{methods: [a], product: {epochs: [1, 0]}}", "parameter epochs = 0: Input should be greater than"),
        ("{methods: [a], product: {epochs: [1]}, set: {epochs: 2}}", "epochs stands in two of"),
        ("{methods: [a], set: {force: true}}", "force has no place in a sweep"),
        ("{methods: [a], datasets: [MNISD]}", "did you mean 'MNIST'"),
        (
            "{methods: [a], product: {seeds: [" + "[1]," * 200 + "], epochs: [" + "1," * 200 + "]}}",
            "these are 40,000 runs",
        ),
    ],
)
def test_a_sweep_that_cant_be_run_is_refused_with_the_reason(text, reason, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    said = ended(CliRunner().invoke(main, ["sweep", str(tmp_path / "bad.yaml")]), 2)
    assert reason in said
    assert "bad.yaml" in said
    assert not runs.home().exists()


def test_all_faults_of_a_sweep_are_told_at_once():
    with pytest.raises(SweepError, match=r"(?s)entry 1, a: .*epochs = 0.*entry 2, z: no method 'z'"):
        sweep.plan("[{methods: [a], set: {epochs: 0}}, {methods: [z]}]")


def test_a_sweep_of_24_runs_killed_three_times_ends_with_24_receipts_and_the_same_bytes(grid, record):
    file = grid()
    for seconds in (8, 10, 12):
        process = subprocess.Popen(command(file, "-j", "2"), stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        # Snakemake has a session of its own: everything that the sweep started, at one blow
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        process.kill()
        for child in children:
            os.killpg(int(child), signal.SIGKILL)
        process.wait()
    before = {run.id: run.receipt["finished"] for run in runs.recorded()}
    subprocess.run(command(file, "-j", "2"), check=True)
    swept = {run.id: run for run in runs.recorded()}
    assert len(swept) == len(list(record.glob("*/receipt.json"))) == 24
    assert {name: swept[name].receipt["finished"] for name in before} == before  # none was made twice
    shutil.rmtree(record)
    for job in sweep.read(file).values():
        experiment.perform("a_direct", job.parameters.model_dump(exclude={"chapter"}))
    whole = {run.id: run.receipt["artefacts"] for run in runs.recorded()}
    assert whole == {name: run.receipt["artefacts"] for name, run in swept.items()}


def test_a_failed_run_is_listed_and_stops_no_other_and_a_removed_one_is_made_again(grid, record):
    file = grid("list: [{optimizer: sgd, clip: 0, learning_rate: 1.0e+30}, {batch_size: 100}]\n")
    sums = []
    for _ in range(2):
        done = subprocess.run(command(file), capture_output=True, text=True)
        assert done.returncode == 1
        assert "1 of 2 runs are on record" in done.stdout
        assert "1 of 2 runs failed" in done.stderr
        assert "learning_rate=1e+30" in done.stderr
        assert "diverged in epoch 1 at lambda" in done.stderr
        (run,) = runs.recorded()
        assert run.parameters.batch_size == 100
        sums.append(run.receipt["artefacts"])
        shutil.rmtree(run.folder)
    assert sums[0] == sums[1]


def test_ctrl_c_leaves_no_process_behind(grid, record):
    file = grid()
    before = set(ours(file))
    with subprocess.Popen(command(file, "-j", "2"), stderr=subprocess.PIPE, text=True) as process:
        for _ in range(300):  # until a run is being made
            if len(ours(file)) > 3:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert set(ours(file)) <= before


def ours(file: Path) -> list[str]:
    """Processes that work on this sweep: their command or their environment names its folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(file.parent / "runs").encode() in told and int(process.name) != os.getpid():
            found.append(process.name)
    return found


def test_another_executor_makes_the_same_bytes(grid, record, tmp_path):
    """A cluster of this machine alone, through Snakemake's interface to any cluster with a submit command."""
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text('cluster-generic-submit-cmd: "setsid sh"\n')
    file = grid("product: {lambdas: [[1], [10]]}\n")
    subprocess.run(command(file, "-j", "2", "--executor", "cluster-generic", "--profile", str(profile)), check=True)
    swept = {run.id: run.receipt["artefacts"] for run in runs.recorded()}
    assert len(swept) == 2
    for job in sweep.read(file).values():
        again = experiment.perform("a_direct", job.parameters.model_dump(exclude={"chapter"}) | {"force": True})
        assert again.receipt["artefacts"] == swept[again.id]


def slurm_is_up() -> bool:
    """Whether a cluster answers."""
    try:
        return subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=5).stdout != b""
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.mark.skipif(not slurm_is_up(), reason="needs a SLURM cluster; one node is enough")
def test_the_slurm_profile_runs_a_sweep_on_a_cluster(grid, record):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    file = grid("product: {lambdas: [[1], [10]]}\n")
    profile = str(ROOT / "profiles" / "slurm")
    subprocess.run(command(file, "-j", "2", "--executor", "slurm", "--profile", profile), check=True)
    assert len(list(runs.recorded())) == 2


def test_an_executor_that_isnt_installed_is_named(grid):
    said = ended(CliRunner().invoke(main, ["sweep", str(grid()), "--executor", "moon"]), 2)
    assert "pip install snakemake-executor-plugin-moon" in said
