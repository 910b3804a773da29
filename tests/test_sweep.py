import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ccbook import ROOT, perform, sweep
from ccbook.machine import download, idx
from ccbook.records import history, sweeps
from ccbook.sweep import SweepError
from complexity_control.digits import Digits
from tests.helpers import CCBOOK, ccbook, ended, naming, observed, on_record

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
    return [*CCBOOK, "sweep", str(file), *words]


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
        ("methods: !!python/object/apply:os.system ['true']", "no method 'true'"),
        ("methods: [a]\nmethods: [b]", "a key comes twice"),
        ("set: {epochs: 1}", "entry 1, key 'methods' is missing"),
        ("method: [a]", "entry 1, unknown key 'method': did you mean 'methods'?"),
        ("{methods: a, sets: {epochs: 1}}", "entry 1, unknown key 'sets': did you mean 'set'?"),
        ("{methods: a, epochs: 1}", "unknown key 'epochs': there are methods and datasets, and for parameters set"),
        ("- [a]", "entry 1 is ['a'], and has no keys: there are methods"),
        ("{methods: [a], produkt: {}}", "entry 1, unknown key 'produkt': did you mean 'product'?"),
        ("methods: []", "at least 1 item"),
        ("methods: [z]", "no method 'z'"),
        ("methods: [a_direkt]", "did you mean 'a_direct'"),
        ("{methods: [a], set: {epoch: 1}}", "unknown parameter 'epoch': did you mean 'epochs'"),
        ("{methods: [a], product: {epochs: 3}}", "entry 1, key product.epochs = '3'"),
        ("{methods: [a], product: {epochs: [1, 0]}}", "parameter epochs = '0': Input should be greater than"),
        ("{methods: [a], product: {epochs: [1]}, set: {epochs: 2}}", "epochs stands in two of"),
        ("{methods: [a], set: {force: true}}", "force has no place in a sweep"),
        ("{methods: [a], datasets: [MNISD]}", "did you mean 'MNIST'"),
        ("{methods: [a], product: {epochs: []}}", "at least 1 item"),
        ("{methods: [a], set: {batch_size: 1:30}}", "parameter batch_size = '1:30': Input should be"),
        ("{methods: [a], set: {learning_rate: 1:30.5}}", "parameter learning_rate = '1:30.5': Input should be"),
        ("{methods: [a], set: {epochs: 2020-01-01}}", "parameter epochs = '2020-01-01': Input should be"),
        ("{methods: [a], set: {shuffle: !!bool x}}", "parameter shuffle = 'x': Input should be"),
        ('methods: ["\\UFFFFFFFF"]', "this is no YAML"),
        ("{methods: [a], set: {_epochs: 1, In: 2}}", "unknown parameter '_epochs'"),
        ("{methods: [a], set: {profile: quick, epochs: 3}}", "epochs = '3' would be taken as 2"),
        ("{methods: [d], set: {start: c_low_rank-0}}", "parameter start = 'c_low_rank-0': no such run is on record"),
        ("{methods: [d], set: {start: ../x}}", "parameter start = '../x': no such run is on record"),
        (
            "{methods: [a], product: {seeds: [" + "[1]," * 200 + "], epochs: [" + "1," * 200 + "]}}",
            "these are 40,000 runs",
        ),
    ],
)
def test_a_sweep_that_cant_be_run_is_refused_with_the_reason(text, reason, tmp_path, record):
    (tmp_path / "bad.yaml").write_text(text)
    said = ended(ccbook("sweep", tmp_path / "bad.yaml"), 2)
    assert reason in said
    assert "bad.yaml" in said
    assert not record.exists()


def test_all_faults_of_a_sweep_are_reported_at_once():
    with pytest.raises(SweepError, match=r"(?s)entry 1, a: .*epochs = '0'.*entry 2, z: no method 'z'"):
        sweep.plan("[{methods: [a], set: {epochs: 0}}, {methods: [z]}]")


def killed(process: subprocess.Popen) -> None:
    """End everything that a sweep started, at one blow; Snakemake has a session of its own."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    process.kill()
    for child in children:
        os.killpg(int(child), signal.SIGKILL)
    process.wait()


def made_here(file: Path, record: Path) -> dict[str, dict]:
    """The artefacts of a sweep's runs, made one after the other in this process."""
    shutil.rmtree(record)
    for job in sweep.read(file).values():
        perform.perform("a_direct", job.parameters.model_dump(exclude={"chapter"}))
    return {run.id: run.receipt["artefacts"] for run in on_record()}


def test_a_killed_sweep_goes_on_makes_what_was_removed_and_lists_what_failed(grid, record):
    """Four runs, of which one diverges; killed when the first is on record."""
    file = grid("list: [{batch_size: 50}, {batch_size: 100}, {batch_size: 200}, "
                "{optimizer: sgd, clip: 0, learning_rate: 1.0e+30}]\n")  # fmt: skip
    process = subprocess.Popen(command(file, "-j", "2"), stderr=subprocess.DEVNULL)
    observed(lambda: list(record.glob("[!.]*/receipt.json")))
    killed(process)
    first, *others = on_record()
    shutil.rmtree(first.folder)
    before = {run.id: run.receipt["finished"] for run in others}
    said = ended(ccbook("sweep", file, "-j", "2"), 1)
    assert "3 of 4 runs are on record" in said
    assert "1 of 4 runs failed" in said
    assert "learning_rate=1e+30" in said
    assert "diverged in epoch 1 at lambda" in said
    swept = {run.id: run for run in on_record()}
    assert len(swept) == 3
    assert first.id in swept
    assert {name: swept[name].receipt["finished"] for name in before} == before  # none was made twice
    ((kept,), _) = sweeps.all_sweeps()
    assert (kept.file, kept.grid, set(kept.runs)) == ("grid.yaml", file.read_text(), set(swept))
    assert "learning_rate=1e+30" in kept.missing[0]


@pytest.mark.deep
def test_a_sweep_of_24_runs_killed_three_times_ends_with_24_receipts_and_the_same_bytes(grid, record):
    file = grid()

    def enough(record: Path, runs: int) -> bool:
        return len(list(record.glob("[!.]*/receipt.json"))) >= runs

    for runs in (1, 5, 12):
        process = subprocess.Popen(command(file, "-j", "2"), stderr=subprocess.DEVNULL)
        observed(partial(enough, record, runs), 600)
        killed(process)
    before = {run.id: run.receipt["finished"] for run in on_record()}
    assert 12 <= len(before) < 24
    subprocess.run(command(file, "-j", "2"), check=True)
    swept = {run.id: run for run in on_record()}
    assert len(swept) == len(list(record.glob("*/receipt.json"))) == 24
    assert {name: swept[name].receipt["finished"] for name in before} == before  # none was made twice
    assert made_here(file, record) == {name: run.receipt["artefacts"] for name, run in swept.items()}


@pytest.mark.deep
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
        (run,) = on_record()
        assert run.parameters.batch_size == 100
        sums.append(run.receipt["artefacts"])
        shutil.rmtree(run.folder)
    assert sums[0] == sums[1]


@pytest.mark.deep
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_leaves_no_process_behind(grid, record, signum):
    file = grid()
    before = naming(file.parent / "runs")
    words = ["env", "--default-signal=HUP", *command(file, "-j", "2")]  # the tests may have been started with nohup
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        observed(lambda: len(naming(file.parent / "runs")) > 3)  # a run is being made
        process.send_signal(signum)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert "the same command makes what is missing" in said
    assert "Traceback" not in said
    assert naming(file.parent / "runs") <= before


def test_a_killed_sweep_leaves_no_process_behind(grid, record):
    """Snakemake, which has a session of its own, sees that the command has ended."""
    file = grid()
    before = naming(file.parent / "runs")
    with subprocess.Popen(command(file, "-j", "2"), stderr=subprocess.DEVNULL) as process:
        observed(lambda: len(naming(file.parent / "runs")) > 3)  # a run is being made
        process.kill()
    observed(lambda: naming(file.parent / "runs") <= before)


@pytest.mark.deep
def test_another_executor_makes_the_same_bytes(grid, record, tmp_path):
    """A cluster of this machine alone, through Snakemake's interface to any cluster with a submit command."""
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text('cluster-generic-submit-cmd: "setsid sh"\n')
    file = grid("product: {lambdas: [[1], [10]]}\n")
    subprocess.run(command(file, "-j", "2", "--executor", "cluster-generic", "--profile", str(profile)), check=True)
    swept = {run.id: run.receipt["artefacts"] for run in on_record()}
    assert len(swept) == 2
    assert made_here(file, record) == swept


def slurm_is_up() -> bool:
    """Whether a cluster answers."""
    try:
        return subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=5).stdout != b""
    except (OSError, subprocess.TimeoutExpired):
        return False


SLURM = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A SLURM cluster: the one that there is or, as root, one of this machine alone, which keeps no accounts."""
    if slurm_is_up():
        yield
        return
    daemons = ("munged", "slurmctld", "slurmd")
    if os.getuid() or not all(map(shutil.which, daemons)):
        pytest.skip("needs a SLURM cluster, or root and the packages slurmctld, slurmd, slurm-client")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(SLURM.format(folder=folder, host=host, cores=os.cpu_count()))
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    files = [f"--{name}-file={folder / name}" for name in ("key", "pid", "log", "seed")]
    munged = ["munged", "--force", "--foreground", f"--socket={folder / 'munge.socket'}", *files]
    usual = Path("/etc/slurm/slurm.conf")  # a job's environment names no other
    if usual.is_symlink() and usual.readlink().parent.name.startswith("slurm"):  # of an earlier test that was killed
        usual.unlink()
    if usual.exists():
        pytest.skip("the cluster of this machine's own settings isn't up")
    usual.symlink_to(folder / "slurm.conf")
    with contextlib.ExitStack() as started:
        started.callback(usual.unlink)
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            started.enter_context(process)
            started.callback(process.terminate)
        observed(lambda: b"idle" in subprocess.run(["sinfo", "--noheader"], capture_output=True).stdout)
        yield


@pytest.fixture
def on_slurm(cluster: None) -> list[str]:
    """Words that send a sweep's jobs there."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    return ["-j", "2", "--executor", "slurm", "--profile", str(ROOT / "profiles" / "slurm")]


@pytest.mark.deep
def test_the_slurm_profile_runs_a_sweep_on_a_cluster(grid, record, on_slurm):
    file = grid("product: {lambdas: [[1], [10]]}\n")
    subprocess.run(command(file, *on_slurm), check=True)
    assert len(on_record()) == 2


def queued() -> list[str]:
    return subprocess.run(["squeue", "--noheader", "--format=%T"], capture_output=True, text=True).stdout.split()


@pytest.mark.deep
def test_ctrl_c_cancels_the_jobs_of_a_cluster_without_accounts_too(folder, tmp_path, record, on_slurm):
    """One job runs, others wait for its core."""
    (tmp_path / "long.yaml").write_text(f"methods: [a]\ndatasets: [{folder}]\nset: {{epochs: 1000000, seeds: [0]}}\n"
                                        "product: {lambdas: [[0.1], [1], [10]]}\n")  # fmt: skip
    with subprocess.Popen(command(tmp_path / "long.yaml", *on_slurm), stderr=subprocess.PIPE, text=True) as process:
        observed(lambda: "RUNNING" in queued(), 120)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130, said
    observed(lambda: not queued())
    assert not list(record.glob("[!.]*"))


def test_a_sweep_on_digits_that_changed_since_then_is_made_anew(tmp_path, folder, record):
    file = tmp_path / "grid #1: a.yaml"  # Snakemake would read such a name as YAML
    file.write_text(f"methods: [a]\ndatasets: [{folder}]\nset: {{profile: quick, hidden: [4], epochs: 1, lambdas: 1}}")
    ended(ccbook("sweep", file))
    (first,) = on_record()
    labels = folder / idx.FILES[1]
    content = bytearray(labels.read_bytes())
    content[-1] = (content[-1] + 1) % 3
    labels.write_bytes(content)
    ended(ccbook("sweep", file))
    assert len(on_record()) == 2
    (listed,) = sweeps.all_sweeps()[0]
    assert first.id not in listed.runs


@pytest.mark.parametrize("name", ["größe² №1.yaml", os.fsdecode(b"no-utf8-\xff.yaml")])
def test_a_grid_may_have_any_files_name(name, tmp_path, folder, record):
    """Python and pydantic don't mean the same letters by \\w."""
    file = tmp_path / name
    file.write_text(f"methods: a\ndatasets: {folder}\nset: {{profile: quick, hidden: 4, epochs: 1, lambdas: '.1, 1'}}")
    ended(ccbook("sweep", file))
    (kept,), faults = sweeps.all_sweeps()
    assert (kept.runs, kept.file[-5:], faults) == ([run.id for run in on_record()], ".yaml", [])
    assert not (record.parent / "sweeps").exists()  # where one may not be allowed to write


def test_an_executor_that_isnt_installed_is_named(grid):
    said = ended(ccbook("sweep", grid(), "--executor", "moon"), 2)
    assert "pip install snakemake-executor-plugin-moon" in said
    assert "no executor '../x' is installed" in ended(ccbook("sweep", grid(), "--executor", "../x"), 2)


def test_a_sweep_without_an_end_is_refused():
    assert "more than 1,000,000 characters" in ended(ccbook("sweep", "/dev/zero"), 2)


def test_numbers_of_a_sweep_are_read_as_they_are_written():
    jobs = sweep.plan("{methods: [a], product: {learning_rate: [1e-3, 1.0e-2, .5, 1]}, set: {epochs: 010}}")
    assert [job.parameters.learning_rate for job in jobs.values()] == [0.001, 0.01, 0.5, 1]
    assert {job.parameters.epochs for job in jobs.values()} == {10}


def test_a_dry_run_of_a_sweep_reads_its_digits_and_the_record_once_and_fetches_none(grid, monkeypatch, tmp_path):
    reads, rated = [], []

    def read(*given: Any) -> Digits:
        reads.append(given)
        return idx.read(*given)

    def like(*given: Any, **named: Any) -> list:
        rated.append(given)
        return []

    monkeypatch.setattr(download, "read", read)
    monkeypatch.setattr(history, "like", like)
    assert "24 runs, 24 to be made" in ended(ccbook("sweep", grid(), "--dry-run"))
    assert len(reads) == len(rated) == 1
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path / "data"))
    (tmp_path / "named.yaml").write_text("{methods: [a, d]}")
    assert "3 runs, 3 to be made" in ended(ccbook("sweep", tmp_path / "named.yaml", "--dry-run"))
    assert not (tmp_path / "data").exists()
