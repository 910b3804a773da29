import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from click.shell_completion import BashComplete

from ccbook import ROOT, chapters
from ccbook.cli import main
from ccbook.machine import download
from ccbook.records import history, store
from ccbook.records.run import Run
from tests.helpers import CCBOOK, ccbook, ended, living, observed, on_record


@pytest.fixture
def small(folder) -> list[str]:
    """Words that make a run of a tenth of a second."""
    return ["--set", f"dataset={folder}", "profile=quick", "hidden=6", "lambdas=10"]


def test_run_makes_a_run_and_finds_it_again(small, tmp_path):
    said = ended(ccbook("run", "a", *small, "--receipt", tmp_path / "copy.json"))
    (run,) = on_record()
    assert run.id in said
    assert json.loads((tmp_path / "copy.json").read_text()) == run.receipt
    assert "epoch" not in ended(ccbook("run", "a_direct", *small))
    assert on_record() == [run]


def test_run_writes_the_executed_chapter_if_asked(small, tmp_path):
    ended(ccbook("run", "a", *small, "--notebook", tmp_path / "a.ipynb"))
    (run,) = on_record()
    notebook = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    assert run.id in str(notebook)
    assert "image/svg+xml" in str(notebook)


def test_run_from_another_run_takes_its_parameters(small):
    ended(ccbook("run", "a", *small, "prior_std=0.5"))
    (first,) = on_record()
    ended(ccbook("run", "a", "--from", first.id[:14], "--set", "epochs=1"))
    second = next(run for run in on_record() if run != first)
    assert history.diff(first, second).parameters.index.tolist() == ["epochs"]
    assert "prior_std" in ended(ccbook("run", "c", "--from", first.id, "--dry-run"))


def test_a_fine_tuning_from_a_recorded_one_follows_its_own_start(small):
    for method in ("c", "d"):
        ended(ccbook("run", method, *small))
    tuned = history.find("d_")
    assert "start" not in history.changes(tuned.parameters)
    assert "on record   since" in ended(ccbook("run", "d", "--from", tuned.id, "--dry-run"))


def test_dry_run_says_what_would_be_and_makes_nothing(small, record):
    said = ended(ccbook("run", "a", *small, "--dry-run"))
    assert "on record   no" in said
    assert "unknown: no run of this kind" in said
    assert not record.exists()
    ended(ccbook("run", "a", *small))
    assert "on record   since" in ended(ccbook("run", "a", *small, "--dry-run"))
    said = ended(ccbook("run", "a", *small, "prior_std=2", "--dry-run"))
    assert "from 1 past run" in said
    assert "2.0   (the chapter has 0.1)" in said


def test_an_estimate_grows_with_the_work(settings, folder, small):
    ended(ccbook("run", "a", *small))
    p = settings(profile="paper", dataset=str(folder), hidden=[6], seeds=[0], lambdas=[1], epochs=10)
    past = history.like("a", "cpu", on_record())
    once = history.estimate(p, 200, past)
    often = history.estimate(p.model_copy(update={"epochs": 1000}), 200, past)
    assert once is not None
    assert often is not None
    assert often.seconds == pytest.approx(100 * once.seconds, rel=1)


def test_help_lists_every_parameter_as_the_chapters_say_it():
    said = " ".join(ended(ccbook("run", "--help")).split())
    for chapter in chapters.names():
        for parameter in chapters.parameters(chapter):
            assert f"{parameter.name}: {parameter.type} = " in said
            assert parameter.comment in said
    assert "epochs: int = 25 passes over the training set (b: 1; d: 1; f: 1; g: 63)" in said


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run a_", ["a_direct"]),
        ("run e_linear --set sa", ["samples="]),
        ("run a_direct --set sa", []),
        ("run a_direct hidden=5 le", ["learning_rate="]),
        ("run a --set fe", []),
        ("run e --set fe", ["feed="]),
        ("sh", ["show"]),
        ("show a_direct-", ["a_direct-1"]),
        ("show sw", []),
        ("rm sw", ["sweep-mine-1"]),
        ("archive runs.tar.gz ", ["a_direct-1", "sweep-mine-1"]),
    ],
)
def test_the_shell_completes(line, expected, record, monkeypatch):
    (record / "a_direct-1").mkdir(parents=True)
    (record / "a_direct-1" / "receipt.json").touch()
    (record / "sweep-mine-1.json").touch()
    *words, last = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", f"ccbook {line}")
    completed = BashComplete(main, {}, "ccbook", "_CCBOOK_COMPLETE").get_completions(words, last)
    assert [item.value for item in completed] == expected


def test_completion_help_and_the_refusal_of_a_file_load_no_torch():
    asked = {"_CCBOOK_COMPLETE": "bash_complete", "COMP_WORDS": "ccbook run a --set sa", "COMP_CWORD": "4"}
    code = "import sys; from ccbook.cli import main\ntry: main(prog_name='ccbook')\n"
    code += "finally: assert 'torch' not in sys.modules"
    there = str(ROOT / "README.md")
    for variables, words, status in ((asked, [], 0), ({}, ["run", "--help"], 0), ({}, ["archive", there], 2)):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == status, done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["run", "a_dirct"], "no method 'a_dirct': did you mean 'a_direct'?"),
        (["run", "z"], "There are a_direct"),
        (["run", "a", "--set", "epoch=3"], "unknown parameter 'epoch': did you mean 'epochs'?"),
        (["run", "a", "--set", "epochs"], "'epochs' is no name=value"),
        (["run", ""], "no method ''"),
        (["run", "a", "--set", "feed=raw"], "unknown parameter 'feed': only c, e have it"),
        (["run", "a", "--set", "_x=1", "In=2"], "unknown parameter '_x'"),
        (["run", "a", "--set", "profile=quick", "epochs=50"], "parameter epochs = '50' would be taken as 2"),
        (["run", "a", "--set", "profile=quick", "seeds=3,4"], "parameter seeds = '3,4' would be taken as (3,)"),
        (["run", "a", "--set", "momentum=0.9"], "parameter momentum = '0.9' would be taken as 0.0, with"),
        (["run", "d", "--set", f"start={'c' * 5_000}"], "at most 200 characters"),
        (["run", "a", "--set", "epochs=1", "epochs=2"], "epochs is given twice"),
        (
            ["run", "a", "--set", "epochs=0", "lambdas=[0]"],
            "lambdas.0 = '0': Input should be greater than 0; parameter ep",
        ),
        (["run", "a", "--from", "nothing"], "no run 'nothing' is on record"),
        (["run", "d", "--set", "profile=quick", "start=../x"], "no such run is on record"),
        (["runs", "epoch=3"], "Error: unknown parameter 'epoch': did you mean 'epochs'?"),
        (["runs", "force=maybe"], "unknown parameter 'force'"),
        (["runs", "epochs=0"], "parameter epochs = '0': Input should be greater than or equal to 1"),
        (["run", "a", "--set", "lambdas=.1,,1"], "parameter lambdas.1 = '': Input should be a valid number"),
        (["show", "a"], "no run 'a' is on record"),
        (["show", "x" * 10_000], f"no run '{'x' * 200}' is on record"),
        (["diff", "a", "b"], "no run 'a' is on record"),
        (["rm", "a"], "no run 'a' is on record"),
        (["sweep", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (
            ["archive", "a_direct-123456789abc"],
            "is no archive's name, such as runs.tar.gz; the names of runs follow it",
        ),
        (["archive", ""], "is no archive's name"),
        (["archive", "--all", "runs.tar.gz"], "No such option"),
        *(
            (["fetch", source], f"no file {source!r} is here; an address begins with https:// or http://")
            for source in ("", "nowhere.tar.gz", "tests", "ftp://localhost/x", "HTTPS://localhost/x")
        ),
        (["fetch", "x" * 300], "is here; an address begins"),
        (["fetch"], "Missing argument 'FILE|URL'"),
        (["diff", "--csv", "a", "b"], "No such option"),
    ],
)
def test_what_cant_be_used_is_refused_with_a_reason(words, reason):
    said = ended(ccbook(*words), 2)
    assert reason in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["sit"], "there is no 'sit'; `make` lists what there is"),
        (["studies", "quick1"], "there is no 'quick1'"),
        (["site", "PROFILE=quick"], "there is no variable PROFILE=quick"),
        (["studies", "device=cuda"], "there is no variable device=cuda"),
    ],
)
def test_make_refuses_what_it_doesnt_know(words, reason):
    command = ["make", "--dry-run", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert reason in done.stderr
    assert done.returncode == 2


def test_a_site_without_runs_says_where_it_looked(record, monkeypatch):
    for variable in ("CCBOOK_RUNS", "CCBOOK_DATA"):
        monkeypatch.setenv(variable, str(record / "nowhere"))
    monkeypatch.setattr(store, "resolve", lambda chapter, values: (chapter, values))
    monkeypatch.setattr(store, "find", lambda *_: None)
    assert f"these digits in {record / 'nowhere'}. Run `make paper`" in ended(ccbook("check"), 1)


def test_a_fine_tuning_without_its_start_says_how_to_make_it_and_makes_it_if_asked(small, record):
    ended(ccbook("run", "c", *small, "epochs=1"))  # as the chapter of (c) isn't
    said = ended(ccbook("run", "d", *small), 2)
    (command,) = re.findall("`ccbook (run c_low_rank .*?)`", said.replace("\n", ""))
    assert "run         has its name once" in ended(ccbook("run", "d", *small, "--with-start", "--dry-run"))
    named = ["start=c_low_rank-000000000000", "--with-start", "--dry-run"]
    assert "no such run is on record" in ended(ccbook("run", "d", *small, *named), 2)
    assert len(on_record()) == 1
    ended(ccbook("run", "d", *small, "--with-start"))
    start = history.find(history.find("d_").receipt["parameters"]["start"])
    assert "on record   since" in ended(ccbook(*shlex.split(command), "--dry-run"))
    assert start.parameters.epochs == 2
    assert len(on_record()) == 3


def test_no_file_is_overwritten_unasked(small, record, tmp_path):
    ended(ccbook("run", "a", *small))
    (run,) = on_record()
    chapter = ROOT / "chapters" / "a_direct.ipynb"
    text = chapter.read_bytes()
    (tmp_path / "mine.json").touch()
    (tmp_path / "link").symlink_to(run.folder)
    for option, file in [
        ("--receipt", run.folder / "metrics.csv"), ("--receipt", run.folder / "new.json"),
        ("--receipt", tmp_path / "link" / "new.json"), ("--receipt", tmp_path / "mine.json"),
        ("--notebook", chapter), ("--notebook", chapter.with_name("new.ipynb")),
    ]:  # fmt: skip
        assert "name a new file" in ended(ccbook("run", "a", *small, "prior_std=2", option, file), 2)
    (tmp_path / "loop").symlink_to("loop")
    for file in (tmp_path / ("n" * 300), tmp_path / "loop" / "x", tmp_path / "mine.json" / "x", "/proc/x"):
        assert "name another file" in ended(ccbook("run", "a", *small, "prior_std=2", "--receipt", file), 2)
    both = ["--receipt", tmp_path / "one.ipynb", "--notebook", tmp_path / "one.ipynb"]
    assert "name two files" in ended(ccbook("run", "a", *small, "prior_std=2", *both), 2)
    assert on_record() == [run]
    assert chapter.read_bytes() == text


def test_a_dry_run_fetches_nothing(record, tmp_path, monkeypatch):
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "torchvision_datasets", lambda: pytest.fail("it was fetched"))
    for method in ("a", "d"):
        assert "once its digits are fetched" in ended(ccbook("run", method, "--dry-run"))
    assert not (tmp_path / "data").exists()
    assert not record.exists()


def test_the_folder_of_runs_is_named_or_refused(record, tmp_path, monkeypatch):
    assert f"no such run is on record in {record};" in " ".join(ended(ccbook("runs")).split())
    (tmp_path / "file").touch()
    monkeypatch.setenv("CCBOOK_RUNS", str(tmp_path / "file"))
    assert f"{tmp_path / 'file'} is no folder" in ended(ccbook("runs"), 2)
    assert "CCBOOK_RUNS" in ended(ccbook("check"), 1)
    monkeypatch.setenv("CCBOOK_RUNS", "")
    assert store.home() == ROOT / "book" / "runs"
    monkeypatch.setenv("CCBOOK_RUNS", "~/runs")
    assert store.home() == Path.home() / "runs"
    monkeypatch.setenv("CCBOOK_RUNS", "x" * 300)
    assert "File name too long" in ended(ccbook("check"), 1)
    for variable in ("CCBOOK_RUNS", "CCBOOK_DATA"):
        monkeypatch.setenv(variable, "~nobody-of-this-name/x")
        assert f"{variable} = ~nobody-of-this-name/x is in the home of nobody" in ended(ccbook("runs"), 2)
        monkeypatch.setenv("COMP_WORDS", "ccbook show no-run")
        monkeypatch.setenv("COMP_CWORD", "2")
        assert BashComplete(main, {}, "ccbook", "_CCBOOK_COMPLETE").complete() == ""
        monkeypatch.delenv(variable)
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path / "file"))
    assert "Set CCBOOK_DATA to a folder that can be written" in ended(ccbook("run", "a"), 2)


@pytest.mark.parametrize("place", ["file", "file/x", "x" * 300])
def test_a_folder_that_cant_be_is_refused_with_what_to_do(record, tmp_path, monkeypatch, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CCBOOK_RUNS", str(tmp_path / place))
    said = ended(ccbook("fetch", tmp_path / "file"), 2)
    assert f"{tmp_path / place} can't be written (" in said
    assert "Change that, or CCBOOK_RUNS" in said
    ended(ccbook("check"), 1)
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path / "file"))
    ended(ccbook("check"), 1)


def test_a_reader_that_has_ended_is_no_failure_to_report(small):
    ended(ccbook("run", "a", *small))
    line = f"{shlex.join(CCBOOK)} runs --json | true"
    assert subprocess.run(["sh", "-c", line], capture_output=True).stderr == b""


@pytest.mark.parametrize("line", ["PYTHONIOENCODING=ascii {} runs", "{} run a {} prior_std=3 2>&-", "{} runs 2>&-"])
def test_a_terminal_without_greek_or_without_standard_error_is_no_failure(small, line):
    ended(ccbook("run", "a", *small))
    done = subprocess.run(["sh", "-c", line.format(shlex.join(CCBOOK), shlex.join(small))], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"a_direct-" in done.stdout


def test_a_diverged_run_says_where_and_ends_with_1(small, record):
    said = ended(ccbook("run", "a", *small, "optimizer=sgd", "learning_rate=1e30", "clip=0"), 1)
    assert "diverged in epoch 1 at lambda 10, seed 0" in said
    assert not list(record.glob("*"))


@pytest.fixture
def two(small) -> list[Run]:
    for prior_std in (0.1, 2):
        ended(ccbook("run", "a", *small, f"prior_std={prior_std}"))
    return sorted(on_record(), key=lambda run: run.parameters.prior_std)  # not the order of their names


def test_runs_lists_and_filters(two, folder):
    other = two[1]
    assert [run.id in ended(ccbook("runs")) for run in two] == [True, True]
    for words, expected in [
        (["prior_std=2.0"], [other]),
        (["--dataset", folder, "hidden=6"], two),
        (["--dataset", "KMNIST"], []),
        (["--method", "c"], []),
        (["feed=log"], []),
        (["lambdas=[10]"], two),
    ]:
        listed = [record["run"] for record in json.loads(ended(ccbook("runs", "--json", *words)))]
        assert listed == sorted(run.id for run in expected)
    lines = ended(ccbook("runs", "--csv")).splitlines()
    assert len(lines) == 1 + 2
    assert {"run", "prior_std", "lam", "accuracy"} <= set(lines[0].split(","))


def test_a_folder_of_digits_is_found_from_wherever_a_command_is_typed(small, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    words = [word for word in small if not word.startswith("dataset=")] + [f"dataset=../{folder.parent.name}/own"]
    ended(ccbook("run", "a", *words))
    (run,) = on_record()
    for typed in ("own", f"../{folder.parent.name}/own", folder):
        assert run.id in ended(ccbook("runs", "--dataset", typed))
    assert "no such run" in ended(ccbook("runs", "--dataset", "~nobody_at_all/own"))
    monkeypatch.chdir("/")
    assert run.id in ended(ccbook("run", "a", "--from", run.id))
    assert "the same bytes" in ended(ccbook("verify", run.id))
    assert "dataset is given twice" in ended(ccbook("runs", "dataset=MNIST", "--dataset", "KMNIST"), 2)


def test_show_says_how_to_repeat_a_run(two):
    one, other = two
    said = ended(ccbook("show", other.id))
    again = said.split("again: ccbook ")[1]
    assert "on record   since" in ended(ccbook(*shlex.split(again), "--dry-run"))
    assert "0.1" not in again
    assert json.loads(ended(ccbook("show", "--json", one.id)))["run"] == one.id


def test_diff_says_what_differs_and_by_how_much(two):
    one, other = two
    said = ended(ccbook("diff", one.id, other.id))
    difference = history.diff(one, other)
    assert difference.parameters.loc["prior_std"].tolist() == ["0.1", "2.0"]
    kl = [run.metrics["kl"].mean() for run in two]
    assert float(difference.results.loc[("kl", 10.0), "difference"]) == pytest.approx(kl[1] - kl[0], rel=1e-4)
    assert "prior_std" in said
    for names in ([], [one.id], [one.id, one.id]):
        assert "name two different runs or more" in ended(ccbook("diff", *names), 2)


def test_diff_of_three_runs_has_a_row_for_each(two, small):
    ended(ccbook("run", "a", *small[:-1], "lambdas=1,10", "prior_std=2"))
    wide = next(run for run in on_record() if run not in two)
    compared = [*two, wide]
    difference = history.diff(*compared)
    assert difference.parameters.to_dict("list") == {"lambdas": ["[10.0]", "[10.0]", "[1.0, 10.0]"],
                                                     "prior_std": ["0.1", "2.0", "2.0"]}  # fmt: skip
    for run in compared:
        mean = run.metrics[run.metrics["lam"] == 10]["kl"].mean()
        assert difference.results.loc[("kl", run.id), 10] == f"{mean:,.6g}"
    assert difference.results.loc[("kl", two[0].id), 1] == "–"
    said = ended(ccbook("diff", *(run.id for run in compared)))
    assert any(line.startswith(wide.id) and "[1.0, 10.0]" in line for line in said.splitlines())
    assert "code: the same" in said


def test_the_spread_over_seeds_stands_beside_a_mean(small):
    ended(ccbook("run", "a", *small, "profile=paper", "epochs=1", "seeds=[0,1,2]"), 2)  # profile twice
    words = [word for word in small if word != "profile=quick"]
    ended(ccbook("run", "a", *words, "epochs=1", "seeds=[0,1,2]"))
    ended(ccbook("run", "a", *words, "epochs=1", "seeds=[3]"))
    many, single = sorted(on_record(), key=lambda run: -len(run.metrics))
    shown = history.diff(many, single).results.loc[("kl", 10.0)]
    assert f"± {many.metrics['kl'].std():.2g}" in shown[many.id]
    assert "±" not in shown[single.id]


def test_rm_takes_a_run_off_the_record_but_none_that_is_needed(small, record, monkeypatch, tmp_path):
    for method in ("c", "d"):
        ended(ccbook("run", method, *small))
    start, tuned = history.find("c_"), history.find("d_")
    assert f"{tuned.id} starts from it" in ended(ccbook("rm", start.id), 2)
    results = tmp_path / "book" / "results"
    results.mkdir(parents=True)
    (results / "table1.csv").write_text(f"table,run\n1,{tuned.id}\n")
    monkeypatch.setattr(history, "ROOT", tmp_path)
    assert "table1.csv stands on it" in ended(ccbook("rm", tuned.id), 2)
    assert len(on_record()) == 2
    ended(ccbook("rm", "--force", tuned.id))
    ended(ccbook("rm", start.id))
    assert list(record.iterdir()) == []


def test_rm_removes_all_that_are_named_or_none(two, small):
    one, other = two
    assert "no run 'nothing' is on record" in ended(ccbook("rm", one.id, "nothing"), 2)
    assert len(on_record()) == 2
    assert ended(ccbook("rm", one.id, other.id, one.id)).split() == ["removed", one.id, "removed", other.id]
    for method in ("c", "d"):
        ended(ccbook("run", method, *small))
    ended(ccbook("rm", *(run.id for run in on_record())))  # what starts from it goes too
    assert on_record() == []


def test_the_books_run_is_the_one_that_changes_nothing(monkeypatch, folder):
    """With the chapter's own defaults made small, so that it takes a second."""
    tiny = chapters.defaults("a_direct") | {"dataset": str(folder), "hidden": [4], "seeds": [0], "epochs": 1}
    monkeypatch.setattr(chapters, "defaults", lambda _: tiny)
    ended(ccbook("run", "a"))
    (run,) = on_record()
    assert history.is_books(run)
    assert "it is the paper's own" in ended(ccbook("rm", run.id), 2)
    ended(ccbook("run", "a", "--set", "epochs=2"))
    assert [history.is_books(run) for run in on_record()].count(True) == 1


def test_a_damaged_run_is_listed_and_can_be_removed(two):
    one, other = two
    (one.folder / "receipt.json").write_text("{")
    said = ended(ccbook("runs"))
    assert f"damaged: {one.folder / 'receipt.json'} can't be read" in said
    assert other.id in said
    assert "can't be read" in ended(ccbook("show", one.id), 2)
    ended(ccbook("rm", one.id))
    assert "damaged:" not in ended(ccbook("runs"))


def test_force_says_whether_the_bytes_are_the_same(small, capfd):
    said = ended(ccbook("run", "a", *small))
    (run,) = on_record()
    capfd.readouterr()
    again = ended(ccbook("run", "a", *small, "force=true"))
    assert run.id in said
    assert run.id in again
    assert f"{run.id}: the same bytes" in again + capfd.readouterr().err
    assert on_record() == [run]
    assert "it would be trained again, and compared" in ended(ccbook("run", "a", *small, "force=true", "--dry-run"))


@pytest.mark.parametrize(
    ("signum", "to", "more"),
    [
        # as a terminal sends it: to the workers on other cores too
        (signal.SIGINT, os.killpg, "lambdas=1,10"),
        pytest.param(signal.SIGINT, os.kill, "lambdas=1", marks=pytest.mark.deep),
        pytest.param(signal.SIGTERM, os.kill, "lambdas=1", marks=pytest.mark.deep),
        (signal.SIGTERM, os.kill, "lambdas=1,10"),
        pytest.param(signal.SIGHUP, os.kill, "lambdas=1", marks=pytest.mark.deep),
        (signal.SIGHUP, os.killpg, "lambdas=1,10"),
    ],
)
def test_ctrl_c_ends_with_130_and_a_word_and_leaves_nothing(folder, record, signum, to, more):
    words = ["run", "a", "--set", f"dataset={folder}", "epochs=100000", "hidden=6", "seeds=0", more]
    command = ["env", "--default-signal=HUP", *CCBOOK, *words]  # the tests may have been started with nohup
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr
        while process.stderr.read(1) != "%":
            pass  # until the bar stands there: training has begun
        if "," in more:  # and until both workers are there
            observed(lambda: len(living(process.pid)) >= 1 + 2)
        to(process.pid, signum)
        said = process.stderr.read()  # to the end of the last process that could still write
    # interrupted in an import, Python dies of the signal itself; a shell says 130 of both
    assert process.returncode in (130, -signal.SIGINT), said
    assert "stopped; what is on record stays" in said
    assert "Traceback" not in said
    assert "leaked" not in said
    observed(lambda: not living(process.pid))
    assert not list(record.glob("*"))


SWALLOWED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        try:
            os.kill(os.getpid(), signal.SIGTERM) if name == "ccbook.parameters" else None
        except KeyboardInterrupt:
            pass  # as compiled code may do
from ccbook.cli import main
sys.meta_path.insert(0, Finder())
main(prog_name="ccbook")
"""


def test_a_signal_while_the_command_loads_its_modules_is_not_lost():
    done = subprocess.run([sys.executable, "-c", SWALLOWED, "runs"], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "stopped; what is on record stays" in done.stderr
