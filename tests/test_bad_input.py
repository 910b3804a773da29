"""Whatever is given is used as it should be, or refused with a reason; and it harms no page."""

import json
import math
import os
import pickle
import re
import shutil
import time
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from bs4 import BeautifulSoup
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from ccbook import chapters, parameters, perform, sweep
from ccbook.book import formats, run_pages
from ccbook.parameters import ParameterError
from ccbook.records import history
from ccbook.records.run import ARTEFACTS, Run, RunError, checksum, read, seal
from ccbook.sweep import SweepError
from ccbook.wording import assignments
from complexity_control.posterior import to_flat
from tests.helpers import ccbook, ended, resealed

NAMES = [name for letter in "acd" for name in chapters.defaults(chapters.METHODS[letter].name)]
CHAPTERS = st.sampled_from(["a_direct", "c_low_rank", "d_low_rank_fine_tuned"])
names = (
    st.sampled_from(NAMES) | st.text(max_size=12) | st.sampled_from(["lamdas", "epoch", "__class__", "chapter", "cap"])
)
odd = st.sampled_from(
    ["", " ", "nan", "inf", "-1", "1e999", "0x10", "1_000", "[", "[]", "[[]]", "[1,", "null", "true", "٣", "½", "\x00",
     "9" * 5000, "[" * 5000, "../../etc", "~", "/", "MNIST ", "<b>", "`id`", "$(id)", "{}", "%s", "cuda:0", "\ud800"]
)  # fmt: skip
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | odd
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)
FRONT_DOOR = settings(max_examples=min(1_000, settings().max_examples))  # each is a whole command
LIMIT = 2  # seconds of work; how long a busy machine takes for it is not ours to say


@given(chapter=CHAPTERS, changes=st.dictionaries(names, values, max_size=3))
def test_parameters_are_valid_or_refused_by_name(chapter, changes):
    began = time.process_time()
    try:
        p = parameters.check(chapter, chapters.defaults(chapter) | changes)
    except ParameterError as error:
        text = str(error)
        assert any(f"parameter {name}" in text or f"parameter {name!r}" in text for name in changes)
        assert len(text) < 1_000 * len(changes)
    else:
        assert all(math.isfinite(x) and x > 0 for x in (*p.lambdas, p.prior_std, p.learning_rate, p.epochs, *p.hidden))
        assert parameters.resolved(json.loads(p.model_dump_json(exclude={"force"}))) == p.model_copy(
            update={"force": False}
        )
    assert time.process_time() - began < LIMIT


@given(
    words=st.lists(
        st.builds("{}={}".format, names, odd | st.integers() | st.floats()) | st.text(max_size=8), max_size=4
    )
)
@FRONT_DOOR
def test_the_front_door_ends_with_0_or_2_and_no_traceback(words, folder, record):
    assume(not any(word.startswith("-") for word in words))
    small = ["hidden=4", "lambdas=1", "seeds=0"]
    given_names = [word.partition("=")[0] for word in words]
    known = [word for word in small if word.partition("=")[0] not in given_names]
    dataset = [] if "dataset" in given_names else [f"dataset={folder}"]
    began = time.process_time()
    result = ccbook("run", "a", "--dry-run", *dataset, *known, *words)
    assert result.exit_code in (0, 2), (result.output, result.exception)
    assert "Traceback" not in result.output
    assert not record.exists()
    assert time.process_time() - began < LIMIT


entries = st.fixed_dictionaries(
    {"methods": st.lists(st.sampled_from(["a", "d", "f_linear_fine_tuned", "z", ""]), max_size=2) | values},
    optional={
        "datasets": st.lists(st.sampled_from(["MNIST", "KMNIST", "nowhere"]), max_size=2) | values,
        "set": st.dictionaries(names, values, max_size=2) | values,
        "product": st.dictionaries(names, st.lists(values, max_size=3), max_size=2) | values,
        "list": st.lists(st.dictionaries(names, values, max_size=2), max_size=2) | values,
        "else": values,
    },
)


def planned_or_refused(text: str) -> None:
    began = time.process_time()
    try:
        jobs = sweep.plan(text)
    except SweepError:
        pass
    else:
        for job in jobs.values():
            assert (
                parameters.check(job.parameters.chapter, job.parameters.model_dump(exclude={"chapter"}))
                == job.parameters
            )
    assert time.process_time() - began < LIMIT


@given(content=st.lists(entries, max_size=3) | entries | values)
def test_a_sweep_file_is_planned_or_refused(content):
    try:
        text = yaml.safe_dump(content, allow_unicode=True)
    except UnicodeError:
        assume(False)
    planned_or_refused(text)


@given(text=st.text() | st.text("{}[]:,-&*!|>'\"#%@`? \n\tabmethods0123456789.e"))
def test_any_text_is_a_sweep_or_refused(text):
    planned_or_refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "methods: &a [*a]",
        "{methods: [a], set: &a {lambdas: *a}}",
        "a: &a [1,1]\n" + "\n".join(f"a{k}: &a{k} [*a{k - 1 if k else ''}, *a{k - 1 if k else ''}]" for k in range(60)),
        "{methods: [a], product: {" + ",".join(f"p{k}: [1,2,3]" for k in range(500)) + "}}",
        "[" * 100_000,
        "methods: [a]\nset: {1: 2}",
        "? [a]\n: b",
        "2020-99-99",
        "methods: [2020-01-01]",
    ],
    ids=range(10),
)
def test_a_sweep_file_made_to_exhaust_is_refused_in_time(text):
    began = time.process_time()
    with pytest.raises(SweepError):
        sweep.plan(text)
    assert time.process_time() - began < LIMIT


@given(data=st.data(), value=values)
def test_a_receipt_with_another_value_is_refused(run, data, value):
    file = run.folder / "receipt.json"
    whole = file.read_text()
    receipt = json.loads(whole)
    place, key = receipt, data.draw(st.sampled_from([*receipt]))
    if isinstance(receipt[key], dict) and data.draw(st.booleans()):
        place, key = receipt[key], data.draw(st.sampled_from([*receipt[key]]))
    assume(place[key] != value and key != "seal")
    place[key] = value
    try:
        file.write_text(json.dumps(receipt))
        with pytest.raises(RunError, match=r"receipt\.json (can't be read|was changed)|holds the run|isn't the file"):
            read(run.folder)
    finally:
        file.write_text(whole)


def listed_as_damaged(run: Run, twin: Path, reason: str) -> None:
    """The twin is named with the reason, by every command, and takes nothing else down."""
    said = ended(ccbook("runs"))
    assert run.id in said
    assert re.search(rf"damaged: .*{re.escape(twin.name)}.*{reason}", said)
    assert run.id in run_pages.registry(*history.all_runs()).data
    repeated = assignments(history.changes(run.parameters) | {"prior_std": 3})
    assert "would take" in ended(ccbook("run", "a", *repeated, "--dry-run"))
    assert re.search(reason, ended(ccbook("show", twin.name), 2))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *[
            ({name: None}, f"entry {name}")
            for name in ("seconds", "finished", "data", "git", "versions", "processor", "cores")
        ],
        ({"seconds": -1}, "entry seconds"),
        ({"seconds": math.nan}, "entry seconds"),
        ({"seconds": "1"}, "entry seconds"),
        ({"seconds": 1e300}, "entry seconds"),
        ({"cores": 10**4000}, "entry cores"),  # no float holds it
        ({"finished": "yesterday"}, "entry finished"),
        ({"data": {}}, "entry 'data.sha256' is missing"),
        ({"versions": {"<img src=x onerror=alert(1)>": "1"}}, "entry versions"),
        ({"versions": {"torch": "<script>"}}, "entry versions"),
        ({"data": {"sha256": "0" * 64, "train": 0, "test": 1}}, "entry data.train"),
        ({"versions": {"python": "3.11"}}, "the version of torch is missing"),
        ({"processor": "<b>"}, "entry processor"),
        ({"processor": "\x9b31m"}, "entry processor"),  # turns a terminal red
        ({"git": {"commit": "<b>", "dirty": False}}, "entry git.commit"),
        ({"parameters": {"chapter": "a_direct", "epochs": -1}}, "parameter epochs"),
        ({"parameters": {"chapter": "a_direct", "dataset": "x" * 10**6}}, "parameter dataset"),
        ({"parameters": {"chapter": "x" * 10**6}}, r"there is no chapter 'x+\.\.\.x+'\)"),
        ({"artefacts": {"../../elsewhere.csv": "0" * 64}}, "entry artefacts"),
    ],
)  # fmt: skip
def test_a_rightly_sealed_receipt_that_cant_be_used_is_listed_as_damaged(run, changes, reason):
    twin = shutil.copytree(run.folder, run.folder.with_name("a_direct-twin"))
    receipt = run.receipt | {"run": twin.name} | changes
    (twin / "receipt.json").write_text(json.dumps(receipt | {"seal": seal(receipt)}))
    listed_as_damaged(run, twin, reason)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:1],
        lambda lines: lines[:2],
        lambda lines: [*lines, lines[-1]],
        lambda lines: ["method,lam,seed\n", *lines[1:]],
        lambda lines: [lines[0], *["a,b,c\n"] * (len(lines) - 1)],
        lambda lines: [line.replace(",10.0,", ",,") for line in lines],
        lambda lines: [line.replace(",10.0,", ",11.0,") for line in lines],
        lambda lines: [line.replace(",10.0,", ",0.1,") for line in lines],
        lambda lines: [re.sub(r"^(a,[^,]*),0,", r"\1,0.5,", line) for line in lines],
        lambda lines: [lines[0], *(f"{line.rpartition(',')[0]},inf\n" for line in lines[1:])],
        lambda lines: [lines[0], *(f"{line.rpartition(',')[0]},\n" for line in lines[1:])],
        lambda lines: [lines[0], *(f"{line.rpartition(',')[0]},<b>\n" for line in lines[1:])],
    ],
    ids=[
        "no row",
        "one row",
        "a row more",
        "columns",
        "words",
        "no lambda",
        "lambda",
        "one lambda twice",
        "half a seed",
        "infinite",
        "no number",
        "markup",
    ],
)
@pytest.mark.parametrize("file", ["metrics.csv", "curves.csv", "history.csv"])
def test_a_rightly_sealed_run_with_odd_tables_is_listed_as_damaged(run, file, damage):
    lines = damage((run.folder / file).read_text().splitlines(True))
    twin = shutil.copytree(run.folder, run.folder.with_name("a_direct-twin"))
    (twin / file).write_text("".join(lines))
    sums = run.receipt["artefacts"] | {file: checksum(twin / file)}
    receipt = run.receipt | {"run": twin.name, "artefacts": sums}
    (twin / "receipt.json").write_text(json.dumps(receipt | {"seal": seal(receipt)}))
    listed_as_damaged(run, twin, "can't be read")


def test_a_rightly_sealed_run_of_more_epochs_than_fit_in_memory_is_refused_without_it(run):
    seeds = range(5)
    parameters = run.receipt["parameters"] | {"seeds": [*seeds], "epochs": 1_000_000, "profile": "paper"}
    tables = {"metrics.csv": run.metrics, "curves.csv": run.curves}
    texts = {n: pd.concat([t.assign(seed=seed) for seed in seeds]).to_csv(index=False) for n, t in tables.items()}
    tracemalloc.start()
    with pytest.raises(RunError, match=r"history\.csv can't be read \(its rows are not those"):
        resealed(run, texts, parameters=parameters)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_a_run_under_a_name_that_its_parameters_dont_give_is_not_found(run, small):
    """A receipt rightly sealed, and named as another run would be: its numbers are not that run's."""
    other = perform.perform("a_direct", small | {"prior_std": 2})
    shutil.rmtree(run.folder)
    resealed(other, run=run.id)
    with pytest.raises(RunError, match="has other parameters than the run's name says"):
        perform.perform("a_direct", small)


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: b"garbage",
        lambda tensors: save({name: tensor[:1] for name, tensor in tensors.items()}),
        lambda tensors: save({name.replace("W1", "W9"): tensor for name, tensor in tensors.items()}),
        lambda tensors: save({name: tensor[..., :2].contiguous() for name, tensor in tensors.items()}),
        lambda tensors: save({}),
    ],
    ids=["garbage", "a row", "a name", "widths", "nothing"],
)
def test_a_fine_tuning_from_a_posterior_of_no_network_is_refused(small, damage):
    start = perform.perform("c_low_rank", chapters.defaults("c_low_rank") | small)
    (start.folder / "posterior.safetensors").write_bytes(damage(to_flat(start.posterior)))
    resealed(start)
    tuned = assignments({n: v for n, v in small.items() if n not in ("force", "epochs")})
    assert "posterior.safetensors can't be read" in ended(ccbook("run", "d", *tuned), 2)


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_receipt_that_is_no_file_keeps_no_command_waiting(run, record, kind):
    (record / "a_direct-odd").mkdir()
    kind(record / "a_direct-odd" / "receipt.json")
    assert run.id in ended(ccbook("runs"))


def test_markup_in_the_name_of_a_copied_run_reaches_no_page(run):
    name = 'x"><img src=x onerror=alert(1)>'
    twin = shutil.copytree(run.folder, run.folder.with_name(name))
    receipt = run.receipt | {"run": name}
    (twin / "receipt.json").write_text(json.dumps(receipt | {"seal": seal(receipt)}))
    whole, faults = history.all_runs()
    assert whole == [run]
    assert not BeautifulSoup(run_pages.registry(whole, faults).data, "html.parser").find_all("img")


@given(cut=st.floats(0, 1), noise=st.binary(max_size=4), name=st.sampled_from(["receipt.json", *ARTEFACTS]))
def test_a_file_cut_short_or_altered_is_named(run, cut, noise, name):
    file = run.folder / name
    whole = file.read_bytes()
    altered = whole[: int(cut * (len(whole) - 2))] + noise
    assume(altered.strip() != whole.strip())  # the end of the last line is no part of a receipt
    try:
        file.write_bytes(altered)
        with pytest.raises(RunError, match=name):
            read(run.folder)
    finally:
        file.write_bytes(whole)


HOSTILE = [
    "<script>alert(1)<", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)", "```", "{raw} html",
    "$x$ **b** [a](b)",    "&lt;b&gt;", "</td></table><h1>", "-->", "{{ x }}", "| a | b |", "\u202e", "a  b",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_folders_name_lands_on_pages_as_text(name, folder, given, tmp_path, record):
    place = tmp_path / name.replace("/", "∕")
    if not place.name.isprintable():
        with pytest.raises(ParameterError, match="no control characters"):
            parameters.check("a_direct", given | {"dataset": str(place)})
        return
    folder.rename(place)
    run = perform.perform("a_direct", given | {"dataset": str(place), "hidden": [2], "lambdas": [1], "epochs": 1})
    listed = BeautifulSoup(run_pages.registry([run]).data, "html.parser")
    assert len(listed.find_all("script")) == 1
    assert not listed.find_all(["img", "h1"])
    assert not [tag for tag in listed.find_all(True) if any(attribute.startswith("on") for attribute in tag.attrs)]
    assert " ".join(place.name.split()) in " ".join(listed.get_text().split())
    page = run_pages.page(run, None)
    tables, _, command = page.partition("## Again")
    assert "<img" not in page.replace(history.command(run.parameters, public=True), "")
    assert "<script" not in page.replace(history.command(run.parameters, public=True), "")
    assert BeautifulSoup(tables, "html.parser").find("table")
    fence = command.split()[0].removesuffix("bash")
    assert set(fence) == {"`"}
    assert command.count(fence) == 2


@given(text=st.text())
def test_escaped_text_is_one_line_of_text_and_nothing_else(text):
    soup = BeautifulSoup(f'<p title="{run_pages.escaped(text)}">{run_pages.escaped(text)}</p>', "html.parser")
    assert [tag.name for tag in soup.find_all(True)] == ["p"]
    assert list(soup.p.attrs) == ["title"] if soup.p else False
    assert "\n" not in run_pages.escaped(text)


def test_nothing_of_a_run_or_a_user_is_unpickled(folder, given, tmp_path, monkeypatch):
    """Pickles stand where files are read; to open one is a failure."""

    def opened(*_: object, **__: object) -> None:
        pytest.fail("something was unpickled")

    small = given | {"dataset": str(folder), "hidden": [2], "lambdas": [1], "epochs": 1}
    run = perform.perform("a_direct", small)
    monkeypatch.setattr(pickle, "loads", opened)
    monkeypatch.setattr(pickle, "load", opened)
    monkeypatch.setattr(torch, "load", opened)
    assert history.find(run.id).posterior.mean["W1"].shape[0] == 1
    assert run_pages.page(run, None)
    torch.save({"mean.W1": torch.zeros(1)}, run.folder / "posterior.safetensors")
    with pytest.raises(RunError, match=r"posterior\.safetensors"):
        perform.perform("a_direct", small)
    (folder / "train-images-idx3-ubyte").write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="no whole IDX file"):
        perform.perform("a_direct", small)
    (tmp_path / "sweep.yaml").write_bytes(pickle.dumps({}))
    with pytest.raises(SweepError):
        sweep.read(Path(tmp_path / "sweep.yaml"))


def test_what_a_terminal_would_obey_is_not_handed_on_to_it(run, small):
    """Escapes in the sources of a run from elsewhere, and in what is given."""
    other = perform.perform("a_direct", small | {"prior_std": 2})
    resealed(other, {"science/training.py": "\x1b[31m\x07\x9b0m"})
    for words, status in ((["diff", run.id, other.id], 0), (["show", "\x1b[31m"], 2), (["fetch", "\x1b]0;x\x07"], 2)):
        assert not set("\x1b\x07\x9b") & set(ended(ccbook(*words), status))


def test_an_accuracy_of_zero_is_shown(run):
    rows = run.metrics.assign(accuracy=0.0, accuracy_curve_mean=0.0, stability=1.0)
    shown = formats.metrics(resealed(run, {"metrics.csv": rows.to_csv(index=False)}))
    assert shown["accuracy"].tolist() == ["0.000", "0.000"]
    assert "updates shared by all λ" not in shown  # a direct method makes none
