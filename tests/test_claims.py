import numpy as np
import pandas as pd
import pytest

from complexity_control import claims, experiment, parameters, tables, verdicts
from complexity_control.claims import ALL, CLAIMS, Evidence

PERCENTS = list(range(0, 100, 10))


def evidence(height: float, slope: float = 0.0, sd: float = 0.005) -> Evidence:
    """Six methods with the same straight curves, falling by `slope` for each tenth of the weights."""
    curve = pd.DataFrame([[height - slope * k for k in range(10)]] * 4, index=ALL, columns=PERCENTS)
    spread = pd.DataFrame(sd, index=ALL, columns=PERCENTS)
    ones = pd.Series(1.0, index=ALL)
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
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)


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
    for claim in CLAIMS:
        if claim.test in ("(a) above (c)", "(d) above (c)", "(f) above (e)", "(c) above (d)"):
            assert holds(claim.name, same) == {False}, claim.name


@pytest.mark.parametrize(
    ("cases", "verdict"),
    [([True, True], "holds"), ([True, False], "holds in part"), ([False], "does not hold"), ([], "not tested")],
)
def test_a_claims_verdict_follows_from_its_cases(cases, verdict):
    assert claims._verdict(cases) == verdict


@pytest.fixture
def two_runs(folder):
    small = {"dataset": str(folder), "seeds": [0, 1], "hidden": [4], "epochs": 3}
    chapters = {"a": "a_direct", "c": "c_low_rank"}
    return {m: experiment.perform(c, parameters.defaults(c) | small) for m, c in chapters.items()}


def test_only_claims_whose_runs_are_there_are_judged(two_runs):
    judged = claims.judge(two_runs).set_index("name")
    assert judged.loc["a-60", "verdict"] != "not tested"
    assert judged.loc["a-60", "run"] == two_runs["a"].id
    assert judged.loc["c-lower", "verdict"] != "not tested"
    assert judged.loc["e-flat", "verdict"] == "not tested"
    assert set(judged["verdict"]) <= set(tables.CLAIM_SIGNS)


def test_a_hypernetworks_price_does_not_grow_and_breaks_even_where_the_lines_cross(two_runs):
    prices = tables.price(two_runs)
    assert prices.loc["a", "updates_once"] == prices.loc["c", "updates_each"] == 0
    once, each = prices.loc["c", "updates_once"], prices.loc["a", "updates_each"]
    levels = prices.loc["c", "break_even"]
    assert levels * each > once >= (levels - 1) * each


def test_the_distance_of_the_papers_own_numbers_is_zero(two_runs):
    assert verdicts._rms(pd.Series([0.0, 0.0])) == 0
    ours = verdicts.distance(two_runs["a"])
    metrics = two_runs["a"].metrics.groupby("lam")["evidence"].mean()
    paper = np.array([-9035.229, -24338.234, -56679.427, -128928.671])
    assert ours["table3"] == pytest.approx(np.sqrt(np.mean(np.log(metrics.to_numpy() / paper) ** 2)))


def test_the_scoreboard_counts_every_cell_and_links_to_each_that_differs(two_runs):
    cells, judged = verdicts.cells(two_runs), claims.judge(two_runs)
    text = tables.scoreboard(cells, judged)
    differing = cells["verdict"].isin(["close", "differs"]).sum()
    assert text.count('href="results.html#cell-') == differing > 0
    failing = judged["verdict"].isin(["holds in part", "does not hold"]).sum()
    assert text.count('href="claims.html#claim-') == failing
    shown = "".join(tables.compared(cells, t, q).to_html() for t, q in cells.groupby(["table", "quantity"]).groups)
    assert all(f'id="{tables.anchor(cell)}"' in shown for cell in cells.to_dict("records"))
