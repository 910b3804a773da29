"""The claims of the paper's text, and what is computed from the runs beside its tables."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag
from scipy import stats

from ccbook import chapters, perform
from ccbook.book import claims_page, cost, pdf, results
from ccbook.book.formats import CLAIM_SIGNS
from ccbook.compare import cells, claims
from ccbook.compare.claims import ALL, CLAIMS, INDEX, Claim, Evidence
from ccbook.compare.printed import LAMBDAS
from ccbook.records.run import Run

PERCENTS = np.arange(0, 100, 10)
LUCK = (-1.2, 0.8, -1.2, 0.8, 0.8)  # of five seeds, the same for every method
Shape = float | Callable[[str, float], float]  # of method and lambda


def world(height: Shape = 0.9, lost: Shape = 0, knee: float = 60, spread: Shape = 0.001, evidence: Shape = -1e4,
          kl: Shape = 1e4, updates: Shape = 1e9) -> Evidence:  # fmt: skip
    """Six methods; accuracies are flat to the knee, and at 90% have lost what is said. Unsaid, all are equal."""
    curves, metrics = {}, {}
    for method, lam, (seed, luck) in product("abcdef", LAMBDAS, enumerate(LUCK)):
        h, down, wide, ev, complexity, cost = (
            shape(method, lam) if callable(shape) else shape for shape in (height, lost, spread, evidence, kl, updates)
        )
        curve = h + luck * wide - down * np.clip((PERCENTS - knee) / (90 - knee), 0, 1)
        curves[method, lam, seed] = curve
        stability = h / (h - down)
        metrics[method, lam, seed] = [curve.mean(), stability, ev, complexity, np.nan]
        metrics[method, ALL, seed] = [np.nan] * 4 + [cost]
    tables = (pd.DataFrame.from_dict(rows, orient="index") for rows in (curves, metrics))
    curves, metrics = (table.set_axis(pd.MultiIndex.from_tuples(table.index, names=INDEX)) for table in tables)
    columns = ["accuracy_curve_mean", "stability", "evidence", "kl", "updates"]
    return Evidence(curves.set_axis(PERCENTS, axis=1), metrics.set_axis(columns, axis=1))


def of(letter: str, its: float, others: float) -> Shape:
    """One method's value beside that of the others."""
    return lambda method, lam: its if method == letter else others


def led(letters: str, best: float, others: float) -> Shape:
    """A leader at each lambda."""
    return lambda method, lam: best if method == letters[LAMBDAS.index(lam)] else others


SAME = world()
STEEP = world(lost=0.5, knee=0)
HOLDS = {
    "kl-falls": world(kl=lambda method, lam: 1e4 / lam),
    "a-60": SAME, "a-80": SAME, "a-flat": SAME, "e-flat": SAME, "e-090": SAME, "e-spread": SAME, "d-stable": SAME,
    "all-similar": SAME, "end-pruning": SAME,
    "a-fall-60": STEEP, "a-fall-80": STEEP,
    "a-few": world(lost=lambda method, lam: 0 if lam == 100 else 0.5),
    "a-low": world(lambda method, lam: 0.7 if lam == 100 else 0.9),
    "b-epoch": world(of("b", 0.8, 0.9)),
    "c-lower": world(of("c", 0.89, 0.9)),
    "c-spread": world(spread=of("c", 0.02, 0.002)),
    "c-stable": world(lost=of("a", 0.3, 0.1)),
    "c-80": world(lost=0.3, knee=80), "d-80": world(lost=0.3, knee=80),
    "e-stable-a": world(lost=of("e", 0.1, 0.3)), "e-stable-c": world(lost=of("e", 0.1, 0.3)),
    "d-higher": world(of("d", 0.91, 0.9)), "d-100-accuracy": world(of("d", 0.91, 0.9)),
    "d-spread": world(spread=of("d", 0.001, 0.02)),
    "d-100-stable": world(lost=of("d", 0.1, 0.3)),
    "f-higher": world(of("f", 0.91, 0.9)), "f-100": world(of("f", 0.91, 0.9)),
    "f-spread": world(spread=of("f", 0.02, 0.002)),
    "f-less": world(lost=of("f", 0.3, 0.1)),
    "f-more": world(lost=of("f", 0.1, 0.3)),
    "tuned-accuracy": world(of("b", 0.8, 0.9)),
    "tuned-evidence": world(evidence=of("b", -2e4, -1e4)),
    "best-accuracy": world(led("dffd", 0.91, 0.9)),
    "best-stability": world(lost=led("ddcc", 0.1, 0.3)),
    "best-evidence": world(evidence=led("aada", -1e4, -2e4)),
    "end-lower": world(of("a", 0.91, 0.9)),
    "end-cost": world(updates=of("a", 1e9, 4e8)),
}  # fmt: skip
FAILS = dict.fromkeys(HOLDS, SAME) | {
    "a-60": STEEP, "a-80": STEEP, "a-flat": STEEP, "e-flat": STEEP, "e-090": world(0.8), "e-spread": world(spread=0.05),
    "d-stable": world(lost=of("d", 0.5, 0)), "all-similar": world(of("a", 0.95, 0.8)),
    "end-pruning": world(lost=of("a", 0, 0.5)),
}  # fmt: skip


def named(name: str) -> Claim:
    (claim,) = [claim for claim in CLAIMS if claim.name == name]
    return claim


def states(name: str, e: Evidence) -> dict[str, str]:
    """State by case, such as λ=10, or (f) λ=10 where the claim is about several methods."""
    cases, one = named(name).cases(e), len(named(name).one + named(name).other) < 3
    return {case.at if one else f"{case.methods} {case.at}": case.state for case in cases}


def test_names_of_claims_are_distinct_and_their_thresholds_are_constants():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) > 30
    assert all(isinstance(claim.threshold, float) for claim in CLAIMS)


@pytest.mark.parametrize("name", [claim.name for claim in CLAIMS])
def test_every_claim_can_hold_and_can_fail(name):
    assert claims.verdict(named(name).cases(HOLDS[name])) == "holds"
    assert claims.verdict(named(name).cases(FAILS[name])) == "does not hold"


@pytest.mark.parametrize("lost", [of("a", 0, 0.5), of("a", 0.5, 0)])
def test_the_properties_under_pruning_are_kept_neither_by_worse_curves_nor_by_better(lost):
    assert set(states("end-pruning", world(lost=lost)).values()) == {"not"}


def test_much_larger_is_more_than_twice_as_large():
    assert set(states("f-spread", world(spread=of("f", 0.009, 0.008))).values()) == {"not"}
    assert set(states("f-spread", world(spread=of("f", 0.009, 0.001))).values()) == {"as claimed"}


def test_one_epoch_is_enough_where_it_is_as_accurate():
    only_at_100 = world(lambda method, lam: 0.9 if lam == 100 or method == "a" else 0.8)
    assert states("b-epoch", only_at_100)["λ=100"] == "not"
    assert claims.verdict(named("b-epoch").cases(only_at_100)) == "holds in part"


def test_what_all_seeds_share_decides_nothing_and_what_they_do_not_leaves_a_case_undecided():
    together = world(of("c", 0.89, 0.9), spread=0.05)  # each seed alike for both methods
    assert set(states("c-lower", together).values()) == {"as claimed"}
    apart = world(of("c", 0.89, 0.9), spread=of("c", 0.05, 0.001))
    assert set(states("c-lower", apart).values()) == {"undecided"}
    assert claims.verdict(named("c-lower").cases(apart)) == "undecided"
    assert claims.in_words(named("c-lower").cases(apart)).count("(undecided)") == 3


def test_an_interval_is_students_of_the_differences_seed_by_seed():
    random = np.random.default_rng(0)
    e = world()
    curves = e.curves + random.normal(0, 0.01, e.curves.shape)
    (case, *_) = named("c-lower").cases(e._replace(curves=curves))
    one, other = (curves.loc[(method, 0.1), 0].to_numpy() for method in "ac")
    low, high = stats.ttest_rel(one, other).confidence_interval()
    assert case.number == f"{(low + high) / 2:.4f} ± {(high - low) / 2:.4f}".replace("-", "−")
    assert case.state == ("as claimed" if low > 0 else "not" if high <= 0 else "undecided")
    (case, *_) = named("a-60").cases(e._replace(curves=curves))
    low, high = stats.ttest_1samp(curves.loc[("a", 0.1), 0] - curves.loc[("a", 0.1), 60], 0).confidence_interval()
    assert case.number == f"{(low + high) / 2:.4f} ± {(high - low) / 2:.4f}".replace("-", "−")


def test_only_seeds_that_both_methods_have_are_compared():
    whole = world(of("c", 0.89, 0.9), spread=of("c", 0.05, 0.001))
    two_less = whole.curves.drop([("c", lam, seed) for lam in LAMBDAS for seed in (0, 2)])
    assert set(states("c-lower", whole).values()) == {"undecided"}
    # the seeds left are equal: no spread, and (c) above (a)
    assert set(states("c-lower", whole._replace(curves=two_less)).values()) == {"not"}


@pytest.mark.parametrize(
    ("name", "low", "high", "state"),
    [
        ("c-lower", 0.001, 0.003, "as claimed"),
        ("c-lower", -0.001, 0.003, "undecided"),
        ("c-lower", -0.003, 0.001, "undecided"),
        ("c-lower", -0.003, 0.0, "not"),
        ("a-60", 0.01, claims.LOSS, "as claimed"),
        ("a-60", 0.04, 0.06, "undecided"),
        ("a-60", 0.06, 0.07, "not"),
        ("d-stable", -claims.SAME, claims.SAME, "as claimed"),
        ("d-stable", 0.05, 0.2, "undecided"),
        ("d-stable", -0.2, 0.2, "undecided"),
        ("d-stable", 0.2, 0.3, "not"),
        ("d-stable", -0.3, -0.2, "not"),
    ],
)
def test_a_case_is_decided_only_by_a_whole_interval(name, low, high, state):
    assert named(name).state(low, high) == state


def test_the_best_is_compared_with_the_runner_up_or_with_what_is_better():
    cases = named("best-evidence").cases(world(evidence=of("e", -1e4, -2e4)))
    assert {case.methods for case in cases} == {"(a) − (e)", "(d) − (e)"}
    assert {case.state for case in cases} == {"not"}


@pytest.mark.parametrize(
    ("name", "contradicted", "of_cases"),
    [
        ("d-100-stable", {"λ=100"}, 1),
        ("e-stable-c", {"λ=1", "λ=10", "λ=100"}, 4),
        ("e-stable-a", {"λ=10", "λ=100"}, 4),
        ("end-lower", {*(f"(a) − (c) λ={lam:g}" for lam in (0.1, 10, 100)),
                       *(f"(a) − (e) λ={lam:g}" for lam in (0.1, 10))}, 8),
        ("c-stable", set(), 4),
        ("f-less", set(), 4),
        ("best-accuracy", set(), 4),
        ("best-stability", set(), 4),
        ("best-evidence", set(), 4),
    ],
)  # fmt: skip
def test_the_papers_tables_contradict_some_of_its_sentences(name, contradicted, of_cases):
    found = states(name, claims.of_paper())
    assert len(found) == of_cases
    assert {case for case, state in found.items() if state == "not"} == contradicted
    assert "undecided" not in found.values()  # tables have no seeds


def test_what_is_read_off_the_papers_figure_is_uncertain():
    assert states("f-higher", claims.of_paper()) == {"λ=10": "undecided", "λ=100": "as claimed"}


@pytest.mark.parametrize("numbers", [HOLDS, FAILS, dict.fromkeys(HOLDS, claims.of_paper())])
def test_a_dot_and_its_interval_lie_to_the_right_of_the_threshold_where_the_case_is_as_claimed(numbers):
    for claim in CLAIMS:
        cases = claim.cases(numbers[claim.name])
        strips = BeautifulSoup("".join(claims_page.strips(cases, [])), "html.parser")
        groups = strips.select("g.ours")  # by method, which the cases are too
        assert len(groups) == len(cases)
        for case, group in zip(sorted(cases, key=lambda case: case.methods), groups_by_method(strips), strict=True):
            (line, dot) = group.select("line, circle")
            worst, mean, best = (float(str(tag[name])[:-1]) for tag, name in ((line, "x1"), (dot, "cx"), (line, "x2")))
            assert 0 <= worst <= mean <= best <= 100
            side = "as claimed" if worst > 50 else "not" if best < 50 else case.state
            assert case.state == side
        words = [claims.in_words([case for case in cases if case.methods == span.get_text()])
                 for span in strips.select("span")]  # fmt: skip
        assert [strip["aria-label"] for strip in strips.select("svg")] == [f"ours: {text}" for text in words]


def groups_by_method(strips: BeautifulSoup) -> list[Tag]:
    """The marks of all cases, in the order of the methods' names."""
    titles = [str(span.get_text()) for span in strips.select("span")]
    pairs = sorted(zip(titles, strips.select("svg"), strict=True), key=lambda pair: pair[0])
    return [group for _, strip in pairs for group in strip.select("g.ours")]


@pytest.mark.skipif(pdf.find() is None, reason=pdf.MISSING)
def test_the_claims_are_filtered_by_the_keyboard_and_without_a_script(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(claims_page, "folder", lambda profile: tmp_path)
    page = tmp_path / "claims.html"
    page.write_text(f"<!doctype html><figure>{claims_page.cards('paper', two_runs).plain['text/html']}</figure>")
    expected = pd.read_csv(tmp_path / "claims.csv")["verdict"].value_counts()
    assert len(expected) > 2
    with pdf.started() as browser:
        tab = browser.new_context(java_script_enabled=False).new_page()
        tab.goto(page.as_uri())
        assert tab.locator("article:visible").count() == expected.sum()
        tab.get_by_label(f"all {expected.sum()}").focus()
        for _ in expected:
            tab.keyboard.press("ArrowDown")
            shown = tab.locator("article:visible .verdict").all_text_contents()
            (verdict,) = {text.partition(" ")[2] for text in shown}
            assert len(shown) == expected.pop(verdict)
    assert expected.empty


def test_the_claims_that_fail_come_first(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(claims_page, "folder", lambda profile: tmp_path)
    page = BeautifulSoup(claims_page.cards("paper", two_runs).plain["text/html"], "html.parser")
    verdicts = [str(article["data-verdict"]).replace("-", " ") for article in page.select("article")]
    assert verdicts == sorted(verdicts, key=[*CLAIM_SIGNS].index, reverse=True)


def test_without_runs_nothing_is_tested_but_the_paper_against_itself():
    judged = claims.judge({}).set_index("name")
    assert set(judged["verdict"]) == {"not tested"}
    assert judged.loc["d-100-stable", "paper_itself"] == "does not hold, 0 of 1; (c) − (d) at λ=100: −0.0306 (not)"
    assert judged.loc["c-stable", "paper_itself"] == "holds, 4 of 4"
    for name in ("kl-falls", "c-spread", "e-spread", "d-spread", "f-spread"):  # neither KL nor deviations are printed
        assert judged.loc[name, "paper_itself"] == "–"


@pytest.fixture
def two_runs(folder, tmp_path, monkeypatch) -> dict[str, Run]:
    """At the paper's scale but for the digits, the seeds and the width; the tables are written elsewhere."""
    monkeypatch.setattr(cost, "folder", lambda profile: tmp_path / "results")
    small = {"dataset": str(folder), "seeds": [0, 1], "hidden": [4], "epochs": 3}
    names = {letter: chapters.METHODS[letter].name for letter in "ac"}
    return {letter: perform.perform(name, chapters.defaults(name) | small) for letter, name in names.items()}


def test_runs_are_read_by_method_lambda_and_seed(two_runs):
    e = claims.of_runs(two_runs)
    row = two_runs["c"].metrics.query("lam == 10 and seed == 1").iloc[0]
    assert e.curves.loc[("c", 10, 1), 0] == row["accuracy"]
    assert e.metrics.loc[("c", 10, 1), ["stability", "evidence", "kl"]].tolist() == [
        row[name] for name in ("stability", "evidence", "kl")
    ]
    updates = cells.total_updates(two_runs["c"].metrics)
    assert e.metrics.loc[("c", ALL), "updates"].tolist() == updates.tolist()


def test_a_quick_run_tests_no_claim(run):
    judged = claims.judge({"a": run}).set_index("name")
    assert set(judged["verdict"]) == {"not tested"}
    assert judged.loc["a-60", "run"] == run.id


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


def test_the_scoreboard_counts_every_cell_and_links_to_each_that_differs(two_runs):
    judged, judged_claims = cells.judge(two_runs), claims.judge(two_runs)
    text = results.scoreboard(judged, judged_claims)
    differing = judged["verdict"].isin(["close", "differs"]).sum()
    assert text.count('href="results.html#cell-') == differing > 0
    failing = judged_claims["verdict"].isin(["holds in part", "undecided", "does not hold"]).sum()
    assert text.count('href="claims.html#claim-') == failing
    shown = "".join(results.compared(rows).to_html() for _, rows in judged.groupby("quantity"))
    assert all(f'id="{results.anchor(cell)}"' in shown for cell in judged.to_dict("records"))
