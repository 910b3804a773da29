"""One network for every lambda: how far its verdicts hang on the seeds."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from ccbook.book import one_network
from ccbook.book.formats import write_csv
from ccbook.book.one_network import GRID, against_pairs, lead
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


def test_the_lead_over_direct_training_is_taken_seed_by_seed_with_its_interval():
    evidence = {"a": {0: -100.0, 1: -110.0, 2: -90.0}, "g": {0: -99.0, 1: -106.0, 2: -90.0}}
    runs: dict[str, Any] = {
        letter: SimpleNamespace(metrics=pd.DataFrame(
            [(1.0, seed, value) for seed, value in values.items()] + [(10.0 if letter == "a" else 3.0, 0, -50.0)],
            columns=["lam", "seed", "evidence"],
        ))
        for letter, values in evidence.items()
    }  # fmt: skip
    found = lead(runs)
    assert found.index.tolist() == [1.0]  # the only one that both have
    assert found["mean"].item() == pytest.approx(-0.05 / 3)
    low, high = ttest_1samp([-0.01, -0.04, 0.0], 0).confidence_interval(0.95)
    assert (found["mean"] - found["half"]).item() == pytest.approx(low)
    assert (found["mean"] + found["half"]).item() == pytest.approx(high)
