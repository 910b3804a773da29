"""What the page of conclusions says, against runs whose numbers are made up."""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from ccbook.book import conclusions, cost, results
from ccbook.book.formats import CLAIM_SIGNS, SIGNS
from ccbook.chapters import METHODS
from ccbook.compare import cells, claims, printed
from ccbook.records.run import Run

PERCENTS = range(0, 100, 10)
# for each method and lambda: accuracy of the whole network, and how much of it goes with each 10% of the weights
NETWORKS = {
    "a": [(0.98, 0.0045), (0.96, 0.001), (0.90, 0.0), (0.78, 0.0)],
    "b": [(0.93, 0.01), (0.91, 0.01), (0.90, 0.01), (0.80, 0.01)],
    "c": [(0.90, 0.002), (0.91, 0.002), (0.93, 0.002), (0.85, 0.002)],
    "d": [(0.94, 0.01), (0.93, 0.01), (0.92, 0.01), (0.80, 0.01)],
    "e": [(0.93, 0.003), (0.92, 0.002), (0.91, 0.0), (0.70, 0.0)],
    "f": [(0.94, 0.01), (0.93, 0.01), (0.92, 0.01), (0.80, 0.01)],
}
UPDATES = {"a": (0, 1_000), "b": (0, 40), "c": (1_900, 0), "d": (1_900, 40), "e": (2_000, 0), "f": (2_000, 40)}
SECONDS = {"a": 300 * 8, "b": 4 * 8, "c": 510 * 2, "d": 4 * 8, "e": 960 * 2, "f": 4 * 8}  # 4 lambdas, 2 seeds, 1 core


@pytest.fixture
def runs() -> Mapping[str, Run]:
    """A run of each method, with two seeds that lie 0.001 from their mean, at (c)'s lambda 1 0.01."""
    made = {}
    for letter, networks in NETWORKS.items():
        metrics, curves = [], []
        for (lam, (whole, slope)), seed in ((pair, seed) for pair in zip(printed.LAMBDAS, networks, strict=True)
                                            for seed in (0, 1)):  # fmt: skip
            noise = (0.01 if letter == "c" and lam == 1 else 0.001) * (2 * seed - 1)
            curve = [whole + noise - slope * percent / 10 for percent in PERCENTS]
            curves += [(letter, lam, seed, percent, right) for percent, right in zip(PERCENTS, curve, strict=True)]
            shared, own = UPDATES[letter]
            row = (
                letter,
                lam,
                seed,
                curve[0],
                np.mean(curve),
                curve[0] / curve[-1],
                -1e4,
                1e4 / lam,
                -2e4,
                own,
                shared,
            )
            metrics.append(row)
        columns = ["method", "lam", "seed", "accuracy", "accuracy_curve_mean", "stability", "log_likelihood", "kl",
                   "evidence", "updates", "updates_shared"]  # fmt: skip
        made[letter] = SimpleNamespace(
            id=f"run-{letter}",
            metrics=pd.DataFrame(metrics, columns=columns),
            curves=pd.DataFrame(curves, columns=["method", "lam", "seed", "pruned_percent", "accuracy"]),
            parameters=SimpleNamespace(profile="paper", device="cpu", chapter=METHODS[letter].name, method=letter),
            receipt={"seconds": SECONDS[letter], "cores": 1, "git": {"commit": "0" * 40}},
        )
    return cast(Mapping[str, Run], made)


@pytest.mark.parametrize("unit", ["updates", "seconds"])
@pytest.mark.parametrize("rival", ["a", "b"])
def test_a_method_breaks_even_where_counting_level_by_level_finds_it_cheaper(runs, unit, rival):
    priced = cost.of_runs(runs)
    each = priced.loc[rival, f"{unit}_each"]
    for letter, number in cost.break_even(priced, unit, rival).items():
        own = priced.loc[letter]
        cheaper = [n for n in range(1, 1_000) if own[f"{unit}_once"] + n * own[f"{unit}_each"] < n * each]
        assert cheaper[:1] == ([] if np.isnan(number) else [number]), letter


def test_updates_and_seconds_break_even_apart(runs):
    priced = cost.of_runs(runs)
    assert priced.loc[["c", "e"], "break_even"].tolist() == [2, 3]
    assert priced.loc[["c", "e"], "break_even_seconds"].tolist() == [2, 4]
    text = re.sub(r"<[^>]*>", " ", conclusions.levels(priced, runs).plain["text/html"])
    assert [
        row.split()[-2:] for row in text.splitlines() if "linear hypernetwork" in row or "low-rank h" in row
    ] or text
    for letter in "cdef":
        row = priced.loc[letter]
        assert re.search(rf"\({letter}\)[^(]*?\s{row['break_even']:.0f}\s+{row['break_even_seconds']:.0f}\s", text)


def test_the_rivals_sentence_names_each_lambda_once_with_the_accuracies_of_both(runs):
    priced = cost.of_runs(runs)
    text = conclusions.rival(priced, runs, "c")
    assert "(b) is more accurate at λ = 0.1 (93.0% against 90.0%). " in text
    assert "(c) is more accurate at λ = 10 (90.0% against 93.0%), λ = 100 (80.0% against 85.0%). " in text
    assert "There is no clear difference at λ = 1 (91.0% against 91.0%). " in text
    assert "(b) takes 4.0 seconds of one core for each λ, (c) 510.0 seconds once" in text
    assert f"from {510 // 4 + 1} values of λ on" in text


def test_of_one_seed_the_rivals_sentence_names_equal_accuracies_too(runs):
    for letter in "bc":
        first = runs[letter].metrics.query("seed == 0")
        cast(Any, runs[letter]).metrics = first.assign(accuracy=first["accuracy"].where(first["lam"] != 1, 0.91))
    text = conclusions.rival(cost.of_runs(runs), runs, "c")
    assert "There is no clear difference at λ = 1 (" in text


def test_what_can_be_removed_keeps_the_accuracy_within_the_loss(runs):
    rows = results.figure1_rows(runs)
    found = conclusions.removals(rows).set_index(["method", "lam"])
    assert found.loc[("a", 0.1)].tolist() == pytest.approx([0.98, 40, 0.962])
    assert found.loc[("a", 10)].tolist() == pytest.approx([0.90, 90, 0.90])
    assert (found["whole"] - found["after"]).max() <= cells.SMALL_LOSS + 1e-9
    shown = re.sub(r"<[^>]*>", " ", conclusions.removal_table(rows, runs).plain["text/html"])
    for (letter, lam), row in found.iterrows():
        numbers = rf"{lam:g}\s+{row['whole']:.1%}\s+{row['percent']:.0f}\s+{row['after']:.1%}"
        assert re.search(rf"\({letter}\)[^(]*?\s{numbers}", shown), (letter, lam)


def test_recommended_is_the_most_removed_within_the_loss_of_the_best_whole_network_then_the_most_accurate():
    rows = pd.DataFrame(
        [("a", 0.1, 0, 0.98), ("a", 0.1, 50, 0.965), ("a", 1, 0, 0.97), ("a", 1, 50, 0.963), ("a", 1, 60, 0.959)],
        columns=["method", "lam", "pruned_percent", "mean"],
    )
    assert conclusions.recommended(rows).tolist() == ["a", 0.1, 50, 0.965]
    further = pd.concat([rows, rows.iloc[[-1]].assign(mean=0.961)])  # less accurate, but more removed
    assert conclusions.recommended(further)[["lam", "pruned_percent"]].tolist() == [1, 60]


def test_a_recommendation_is_a_point_of_the_figure(runs):
    rows = results.figure1_rows(runs)
    text = str(conclusions.recommendation(rows[rows["method"].isin(["a", "e"])]).data)
    assert text.count("For (") == 2
    for letter, lam, percent, right in re.findall(r"\((.)\): λ = (\S+) with (\d+)% .*? keeps ([\d.]+)%", text):
        place = (rows["method"] == letter) & (rows["lam"] == float(lam)) & (rows["pruned_percent"] == int(percent))
        point = rows[place]
        assert f"{point['mean'].item():.1%}" == f"{right}%"


def test_the_counts_in_the_sentence_are_those_of_the_verdicts(runs):
    judged, judged_claims = cells.judge(runs)["verdict"], claims.judge(runs)["verdict"]
    text = str(conclusions.verdicts(runs).data)
    of_numbers, of_claims = text.split("Of its")
    for verdict in set(judged):
        assert f" {(judged == verdict).sum()} {conclusions.VERBS[verdict]}" in of_numbers
    for verdict in set(judged_claims):
        assert f" {(judged_claims == verdict).sum()} {conclusions.VERBS[verdict]}" in of_claims
    assert set(SIGNS) | set(CLAIM_SIGNS) == set(conclusions.VERBS)
    agreeing = judged.isin(["agrees", "explained"]).sum()
    table = conclusions.agreement(runs).plain["text/html"]
    assert sum(int(number) for number in re.findall(r">(\d+)\sof\s\d+<", table)) == agreeing
