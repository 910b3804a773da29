import math

import pytest
from scipy import stats

from ccbook import perform
from ccbook.compare import cells, printed


def test_a_tables_cells_are_mean_sd_and_interval_over_seeds(given, folder):
    small = given | {"dataset": str(folder), "lambdas": [0.1, 1, 10, 100], "hidden": [4], "epochs": 1}
    run = perform.perform("a_direct", small | {"profile": "paper", "seeds": [0, 1, 2]})
    judged = cells.judge({"a": run})
    assert len(judged) == 78 + 24  # Table 1's accuracies are read twice
    cell = judged[(judged["quantity"] == "evidence") & (judged["method"] == "a") & (judged["lam"] == 10)].iloc[0]
    values = run.metrics[run.metrics["lam"] == 10]["evidence"]
    interval = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (cell["mean"], cell["sd"]) == pytest.approx((values.mean(), values.std()))
    assert (cell["low"], cell["high"]) == pytest.approx(interval)
    assert set(judged[judged["method"] == "b"]["verdict"]) == {"not tested"}
    updates = judged[(judged["quantity"] == "updates") & (judged["method"] == "a")].iloc[0]
    assert updates["mean"] == 4 * run.metrics["updates"].iloc[0]


def test_a_quick_run_is_not_held_against_the_paper(run):
    assert set(cells.judge({"a": run})["verdict"]) == {"not tested"}


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
    assert cells.verdict(quantity, paper, ours) == expected


def test_the_paper_prints_78_values():
    rows = printed.tables()
    assert len(rows) == 78
    assert set(rows["quantity"]) <= set(cells.tolerances().index)
    assert rows.groupby("table").size().to_dict() == {1: 30, 2: 24, 3: 24}


def test_every_tolerance_has_a_reason():
    assert cells.tolerances()["reason"].str.len().min() > 20
