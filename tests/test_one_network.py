"""One network for every lambda: how far its verdicts hang on the seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from ccbook.book import one_network
from ccbook.book.formats import write_csv
from ccbook.book.one_network import GRID, against_pairs, by_intervals, over_seeds
from ccbook.records import history
from tests.helpers import on_record


def test_the_worst_lambda_is_taken_against_each_two_seeds_of_the_tuned_training():
    table = pd.DataFrame({"method": "g", "lam": GRID, "evidence": -104.0})
    at_one = {0: -100.0, 1: -104.0, 2: -96.0}  # elsewhere all seeds have (g)'s own evidence
    rows = [(lam, seed, value if lam == 1 else -104.0) for lam in GRID for seed, value in at_one.items()]
    tuned = pd.DataFrame(rows, columns=["lam", "seed", "evidence"])
    # the means of two are -102, -98 and -100
    assert "any two of its 3, (g) at its worst λ lies 2.0% to 6.1% behind" in against_pairs(table, tuned)
    assert against_pairs(table, tuned.query("seed == 0")) == ""


def test_the_tuned_training_stands_on_the_rows_on_record_while_they_are_of_the_same_run(folder, tmp_path, monkeypatch):
    few = {"dataset": str(folder), "lambdas": [0.1, 1], "hidden": [4]}
    monkeypatch.setattr(one_network, "REFERENCE", few)
    monkeypatch.setattr(one_network, "folder", lambda profile: tmp_path)
    made = one_network.reference("quick", "cpu")
    (run,) = on_record()
    assert made["evidence"].tolist() == run.metrics["evidence"].tolist()
    write_csv(made.assign(evidence=-1.0), tmp_path / one_network.TUNED_ROWS)
    assert one_network.reference("quick", "cpu").equals(made)  # a run on record here comes first
    history.remove([run.id])
    assert (one_network.reference("quick", "cpu")["evidence"] == -1).all()
    assert on_record() == []
    monkeypatch.setattr(one_network, "REFERENCE", few | {"prior_std": 0.5})
    assert one_network.reference("quick", "cpu")["run"].unique().tolist() == [run.id for run in on_record()]


def test_a_goal_is_met_by_intervals_where_the_whole_interval_of_the_mean_over_seeds_is_on_its_side():
    by_lam = {1.0: [-0.01, -0.04, 0.0], 3.0: [0.01, 0.02, 0.03], 10.0: [0.1, 0.2, np.nan], 100.0: [5.0, 6.0, 5.5]}
    margins = pd.DataFrame(by_lam).rename_axis("seed").rename_axis("lam", axis="columns").unstack()
    found = over_seeds(margins)
    for lam, numbers in by_lam.items():
        low, high = ttest_1samp(numbers, 0, nan_policy="omit").confidence_interval(0.95)
        assert (found["mean"] - found["half"])[lam] == pytest.approx(low)
        assert (found["mean"] + found["half"])[lam] == pytest.approx(high)
    assert by_intervals(margins) == "; by intervals at 1 of 4"
    assert by_intervals(margins.xs(0, level="seed", drop_level=False)) == ""  # one seed has no interval
