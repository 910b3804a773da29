"""The claims of the paper's text, and what is computed from the runs beside its tables."""

import numpy as np
import pandas as pd
import pytest

from ccbook import chapters, perform
from ccbook.book import audit, cost, results
from ccbook.book.formats import CLAIM_SIGNS
from ccbook.compare import cells, claims
from ccbook.compare.claims import CLAIMS, Evidence
from ccbook.compare.printed import LAMBDAS
from ccbook.records.run import Run

PERCENTS = list(range(0, 100, 10))


def evidence(height: float, slope: float = 0.0, sd: float = 0.005) -> Evidence:
    """Six methods with the same straight curves, falling by `slope` for each tenth of the weights."""
    curve = pd.DataFrame([[height - slope * k for k in range(10)]] * 4, index=LAMBDAS, columns=PERCENTS)
    spread = pd.DataFrame(sd, index=LAMBDAS, columns=PERCENTS)
    ones = pd.Series(1.0, index=LAMBDAS)
    letters = "abcdef"
    return Evidence(
        dict.fromkeys(letters, curve),
        dict.fromkeys(letters, spread),
        dict.fromkeys(letters, ones),
        dict.fromkeys(letters, -ones),
        dict.fromkeys(letters, 1.0),
    )


def holds(name: str, e: Evidence) -> set[bool]:
    (claim,) = [claim for claim in CLAIMS if claim.name == name]
    return {ok for _, ok in claim.outcome(e).values()}


def test_names_of_claims_are_distinct():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) > 20


def test_flat_curves_lose_nothing_and_fall_nowhere():
    flat = evidence(0.9)
    for name in ("a-60", "a-80", "a-flat", "e-flat", "e-090", "e-spread", "d-stable", "all-similar", "end-pruning"):
        assert holds(name, flat) == {True}, name
    for name in ("a-fall", "a-low", "c-80", "d-80"):
        assert holds(name, flat) == {False}, name


def test_steep_curves_lose_and_fall():
    steep = evidence(0.95, slope=0.08)
    for name in ("a-60", "a-80", "a-flat", "e-flat", "e-090"):
        assert holds(name, steep) == {False}, name
    for name in ("a-fall", "c-80", "d-80", "end-pruning"):
        assert holds(name, steep) == {True}, name


def test_a_method_is_neither_above_nor_below_its_equal():
    same = evidence(0.9)
    compared = [claim for claim in CLAIMS if claim.rule == "above"]
    assert compared
    for claim in compared:
        assert holds(claim.name, same) == {False}, claim.name


@pytest.mark.parametrize(
    ("cases", "verdict"),
    [([True, True], "holds"), ([True, False], "holds in part"), ([False], "does not hold"), ([], "not tested")],
)
def test_a_claims_verdict_follows_from_its_cases(cases, verdict):
    assert claims.verdict(cases) == verdict


@pytest.fixture
def two_runs(folder, tmp_path, monkeypatch) -> dict[str, Run]:
    """At the paper's scale but for the digits, the seeds and the width; the tables are written elsewhere."""
    monkeypatch.setattr(cost, "folder", lambda profile: tmp_path / "results")
    small = {"dataset": str(folder), "seeds": [0, 1], "hidden": [4], "epochs": 3}
    names = {letter: chapters.METHODS[letter].name for letter in "ac"}
    return {letter: perform.perform(name, chapters.defaults(name) | small) for letter, name in names.items()}


def test_only_claims_whose_runs_are_there_are_judged(two_runs):
    judged = claims.judge(two_runs).set_index("name")
    assert judged.loc["a-60", "verdict"] != "not tested"
    assert judged.loc["a-60", "run"] == two_runs["a"].id
    assert judged.loc["c-lower", "verdict"] != "not tested"
    assert judged.loc["e-flat", "verdict"] == "not tested"
    assert set(judged["verdict"]) <= set(CLAIM_SIGNS)


def test_a_hypernetworks_price_does_not_grow_and_breaks_even_where_the_lines_cross(two_runs, tmp_path):
    prices = cost.prices("paper", two_runs)
    assert prices.loc["a", "updates_once"] == prices.loc["c", "updates_each"] == 0
    once, each = prices.loc["c", "updates_once"], prices.loc["a", "updates_each"]
    levels = prices.loc["c", "break_even"]
    assert levels * each > once >= (levels - 1) * each
    written = pd.read_csv(tmp_path / "results" / "cost.csv", index_col="method")
    assert written["updates_once"].to_dict() == prices["updates_once"].to_dict()


def test_the_distance_to_the_paper_is_a_root_mean_square_over_its_lambdas(two_runs):
    ours = audit.distance(two_runs["a"])
    metrics = two_runs["a"].metrics.groupby("lam")["evidence"].mean()
    paper = np.array([-9035.229, -24338.234, -56679.427, -128928.671])
    assert ours["table3"] == pytest.approx(np.sqrt(np.mean(np.log(metrics.to_numpy() / paper) ** 2)))


def test_the_scoreboard_counts_every_cell_and_links_to_each_that_differs(two_runs):
    judged, judged_claims = cells.judge(two_runs), claims.judge(two_runs)
    text = results.scoreboard(judged, judged_claims)
    differing = judged["verdict"].isin(["close", "differs"]).sum()
    assert text.count('href="results.html#cell-') == differing > 0
    failing = judged_claims["verdict"].isin(["holds in part", "does not hold"]).sum()
    assert text.count('href="claims.html#claim-') == failing
    shown = "".join(results.compared(rows).to_html() for _, rows in judged.groupby("quantity"))
    assert all(f'id="{results.anchor(cell)}"' in shown for cell in judged.to_dict("records"))
