import math

import pandas as pd
import pytest
import torch
from scipy import stats

from complexity_control import experiment, parameters, progress, reported, runs, verdicts
from complexity_control.objective import kl
from complexity_control.runs import RunError
from complexity_control.training import Model


@pytest.fixture
def small(given, folder):
    """Parameters of a run of a second."""
    return given | {"dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0], "hidden": [6]}


@pytest.fixture
def run(small):
    return experiment.perform("a_direct", small)


def test_a_run_is_found_and_not_repeated(run, small, monkeypatch):
    monkeypatch.setattr(experiment, "train_and_measure", lambda *_: pytest.fail("trained again"))
    assert experiment.perform("a_direct", small) == run


def test_force_repeats_a_run_with_the_same_bytes(run, small):
    again = experiment.perform("a_direct", small | {"force": True})
    assert again.id == run.id
    assert again.receipt["artefacts"] == run.receipt["artefacts"]
    assert again.receipt is not run.receipt


def test_a_receipt_holds_every_parameter_and_where_it_ran(run, small):
    assert run.id.startswith("a_direct-")
    expected = {name: value for name, value in small.items() if name != "force"}
    assert run.receipt["parameters"] == expected | {"chapter": "a_direct", "epochs": 2}
    assert run.receipt["data"]["train"] == 200
    assert {"finished", "git", "versions", "processor", "cores", "seconds"} < set(run.receipt)


def test_the_rows_are_tidy_and_agree_with_each_other(run):
    metrics, curves = run.metrics, run.curves
    assert list(curves) == ["method", "lam", "seed", "pruned_percent", "accuracy"]
    assert len(curves) == 2 * 10
    assert (metrics["evidence"] - (metrics["log_likelihood"] - metrics["lam"] * metrics["kl"])).abs().max() < 1e-6
    whole = curves[curves["pruned_percent"] == 0]["accuracy"].tolist()
    assert metrics["accuracy"].tolist() == whole


def test_the_recorded_posterior_gives_the_recorded_kl(run):
    assert kl(run.posterior, 0.1).tolist() == pytest.approx(run.metrics["kl"].tolist(), rel=1e-5)


def test_the_key_follows_parameters_and_data_but_not_the_datas_path(settings, folder, digits, tmp_path):
    p = settings(dataset=str(folder))
    moved = folder.rename(tmp_path / "moved")
    assert runs.key(p, digits) == runs.key(settings(dataset=str(moved)), digits)
    assert runs.key(p, digits) == runs.key(p.model_copy(update={"force": True}), digits)
    assert runs.key(p, digits) != runs.key(settings(dataset=str(moved), prior_std=1), digits)
    other = digits._replace(test_labels=digits.test_labels.flip(0))
    assert runs.key(p, digits) != runs.key(p, other)


@pytest.mark.parametrize("name", runs.ARTEFACTS)
def test_a_byte_changed_in_an_artefact_is_named(run, small, name):
    content = bytearray((run.folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run.folder / name).write_bytes(content)
    with pytest.raises(RunError, match=f"{name} is missing, or isn't the file of its receipt"):
        experiment.perform("a_direct", small)


@pytest.mark.parametrize("receipt", ["", "{", "[]", "{}", '{"artefacts": {}}'])
def test_a_damaged_receipt_is_named(run, receipt):
    (run.folder / "receipt.json").write_text(receipt)
    with pytest.raises(RunError, match=r"receipt\.json can't be read.*Delete the folder a_direct"):
        runs.read(run.folder)


def test_a_folder_without_a_receipt_is_no_run(run, small, record):
    """What a kill leaves behind: a partial folder, never read, and in nobody's way."""
    run.folder.rename(record / ".partial-left")
    assert list(runs.recorded()) == []
    assert experiment.perform("a_direct", small).receipt["artefacts"] == run.receipt["artefacts"]


def test_a_refused_or_diverged_run_leaves_nothing(small, record):
    for changes in ({"lambdas": [0]}, {"optimizer": "sgd", "learning_rate": 1e30, "clip": 0}):
        with pytest.raises((ValueError, ArithmeticError)):
            experiment.perform("a_direct", small | changes)
    assert not record.exists() or not list(record.iterdir())


def test_a_model_has_the_same_numbers_alone_in_a_stack_and_on_other_cores(small, record, monkeypatch):
    """Bytes of a model's rows: alone, among four, on one core, on two."""
    rows = {}
    threads = torch.get_num_threads()
    try:
        for cores, lambdas, seeds in ((1, [10], [0]), (1, [0.1, 10], [0]), (2, [0.1, 10], [0]), (2, [10, 1, 0.1], [0])):
            torch.set_num_threads(cores)
            monkeypatch.setattr(experiment, "WORTH_A_PROCESS", 0)
            run = experiment.perform("a_direct", small | {"lambdas": lambdas, "seeds": seeds, "force": True})
            rows[cores, tuple(lambdas)] = {
                name: [line for line in (run.folder / name).read_text().splitlines() if line.startswith("a,10.0,0,")]
                for name in ("metrics.csv", "curves.csv")
            }
    finally:
        torch.set_num_threads(threads)
    first, *others = rows.values()
    assert len(first["metrics.csv"]) == 1
    assert all(other == first for other in others)


def test_a_tables_cells_are_mean_sd_and_interval_over_seeds(given, folder):
    small = given | {"dataset": str(folder), "lambdas": [0.1, 1, 10, 100], "hidden": [4], "epochs": 1}
    run = experiment.perform("a_direct", small | {"profile": "paper", "seeds": [0, 1, 2]})
    cells = verdicts.cells({"a": run})
    assert len(cells) == 78 + 24  # Table 1's accuracies are read twice
    cell = cells[(cells["quantity"] == "evidence") & (cells["method"] == "a") & (cells["lam"] == 10)].iloc[0]
    values = run.metrics[run.metrics["lam"] == 10]["evidence"]
    interval = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (cell["mean"], cell["sd"]) == pytest.approx((values.mean(), values.std()))
    assert (cell["low"], cell["high"]) == pytest.approx(interval)
    assert set(cells[cells["method"] == "b"]["verdict"]) == {"not tested"}
    updates = cells[(cells["quantity"] == "updates") & (cells["method"] == "a")].iloc[0]
    assert updates["mean"] == 4 * run.metrics["updates"].iloc[0]


def test_a_quick_run_is_not_held_against_the_paper(run):
    assert set(verdicts.cells({"a": run})["verdict"]) == {"not tested"}


@pytest.mark.parametrize(
    ("quantity", "paper", "ours", "expected"),
    [
        ("accuracy", 0.90, 0.929, "agrees"),
        ("accuracy", 0.90, 0.95, "close"),
        ("accuracy", 0.90, 0.83, "differs"),
        ("evidence", -10_000, -10_900, "agrees"),
        ("evidence", -10_000, -8_100, "close"),
        ("evidence", -10_000, -12_100, "differs"),
        ("updates", 100, 100, "agrees"),
        ("updates", 100, 101, "differs"),
        ("stability", 2, math.nan, "not tested"),
    ],
)
def test_a_verdict_is_agrees_within_the_tolerance_and_close_within_twice(quantity, paper, ours, expected):
    assert verdicts.verdict(quantity, paper, ours) == expected


def test_the_paper_prints_78_values():
    printed = reported.tables()
    assert len(printed) == 78
    assert set(printed["quantity"]) <= set(verdicts.tolerances().index)
    assert printed.groupby("table").size().to_dict() == {1: 30, 2: 24, 3: 24}


def test_every_tolerance_has_a_reason():
    assert verdicts.tolerances()["reason"].str.len().min() > 20


def test_a_stack_too_large_for_the_memory_is_trained_in_halves(small, digits, monkeypatch, tmp_path):
    p = parameters.check("a_direct", small)
    models = [Model(lam, seed) for lam in (0.1, 1.0, 10.0) for seed in (0, 1)]
    with progress.bar(tmp_path, "test", 6 * p.epochs) as bar:
        whole = experiment._train_here(p, digits, [(models, None)], bar)
        train, sizes = experiment.train_and_measure, []

        def limited(p, digits, models, *rest):
            sizes.append(len(models))
            if len(models) > 2:
                raise torch.OutOfMemoryError
            return train(p, digits, models, *rest)

        monkeypatch.setattr(experiment, "train_and_measure", limited)
        bar.show(0, 0.0)
        split = experiment._train_here(p, digits, [(models, None)], bar)
        assert bar.epochs == 6 * p.epochs
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    together, apart = (experiment._joined(parts).tables["metrics"] for parts in (whole, split))
    pd.testing.assert_frame_equal(together, apart, rtol=1e-4)
