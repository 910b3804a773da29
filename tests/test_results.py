"""The pictures of the results: tables as dumbbells, and the method to use, against the numbers that they stand on."""

from collections.abc import Mapping
from itertools import product
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib import pyplot as plt

from ccbook.book import choice, cost, dumbbells, method_page
from ccbook.compare import cells, printed
from ccbook.records.run import Run
from tests.helpers import ccbook, ended


@pytest.fixture
def judged() -> pd.DataFrame:
    """Made-up values beside the printed ones: above or below them by up to 30%, with an interval of 2%."""
    rows = cells.judge({})
    rows["mean"] = rows["paper"] * np.random.default_rng(0).uniform(0.7, 1.3, len(rows))
    rows = rows.assign(low=rows["mean"] * 0.99, high=rows["mean"] * 1.01, difference=rows["mean"] - rows["paper"])
    values = rows[["quantity", "paper", "mean"]].itertuples(index=False, name=None)
    return rows.assign(verdict=[cells.verdict(*value) for value in values])


@pytest.mark.parametrize("cell", printed.tables().drop_duplicates(["quantity", "method"]).to_dict("records"))
def test_the_band_of_a_value_ends_where_its_verdict_changes(cell):
    quantity, paper = cell["quantity"], cell["value"]
    low, high = cells.band(quantity, paper)
    assert low <= paper <= high
    for edge, outwards in ((low, -1), (high, 1)):
        step = 1e-6 * abs(paper) * outwards
        assert cells.verdict(quantity, paper, edge + step) != "agrees"
        assert cells.verdict(quantity, paper, edge if edge == paper else edge - step) == "agrees"


@pytest.mark.parametrize("quantity", ["accuracy_curve_mean", "updates", "stability", "evidence"])
def test_a_dumbbell_has_its_ends_at_the_papers_value_and_at_ours(judged, quantity):
    own = judged[judged["quantity"] == quantity]
    figure, ax = plt.subplots()
    dumbbells.draw(own, ax)
    figure.canvas.draw()
    scale = dumbbells.SCALES.get(quantity, 1)
    dots = [np.asarray(line.get_xdata())[0] / scale for line in ax.lines if line.get_marker() == "o"]
    assert dots == pytest.approx(own[["paper", "mean"]].to_numpy().ravel())
    left, right = sorted(ax.get_xlim())
    assert all(left < dot * scale < right for dot in dots)
    signs = [text.get_text() for text in ax.texts if len(text.get_text()) == 1]
    assert signs == [dumbbells.SIGNS[verdict] for verdict in own["verdict"]]
    rightwards = ax.transData.transform([(scale * best, 0) for best in (own["paper"].min(), own["paper"].max())])[:, 0]
    assert (rightwards[1] > rightwards[0]) == (quantity != "stability")  # where less is better
    plt.close(figure)


def test_a_table_in_words_counts_its_verdicts_and_names_the_value_furthest_apart(judged):
    own = judged[judged["quantity"] == "evidence"]
    row = own.loc[(own["mean"] / own["paper"] - 1).abs().idxmax()]
    text = dumbbells.figure(judged, 3, {}).plain["text/plain"]
    for verdict, number in own["verdict"].value_counts().items():
        assert f"{verdict} {number}" in text
    assert f"Furthest apart: ({row['method']}) at λ = {row['lam']:g}" in text


def test_without_our_values_the_papers_are_drawn(recwarn):
    shown = dumbbells.figure(cells.judge({}), 1, {})
    assert "not tested 24" in shown.plain["text/plain"]
    assert not recwarn


# ---- which should I use? ---------------------------------------------------------------------------------------------

# accuracies and evidences at the four lambdas, and seconds, once and for each lambda
METHODS = {
    "a": ([0.97, 0.96, 0.91, 0.78], [-10.0, -20, -40, -80], (0, 20)),
    "b": ([0.91, 0.91, 0.90, 0.80], [-30.0, -60, -200, -900], (0, 3)),
    "c": ([0.90, 0.90, 0.90, 0.86], [-25.0, -30, -57, -170], (45, 0)),
    "d": ([0.91, 0.91, 0.91, 0.82], [-20.0, -27, -40, -82], (45, 3)),
    "g": ([0.97, 0.96, 0.905, 0.79], [-9.0, -20, -41, -83], (100, 0)),
}


@pytest.fixture
def runs(monkeypatch) -> Mapping[str, Run]:
    """Runs with those numbers."""
    made, priced = {}, {}
    for letter, (accuracy, evidence, (once, each)) in METHODS.items():
        metrics = pd.DataFrame({"lam": printed.LAMBDAS, "accuracy": accuracy, "evidence": evidence})
        receipt = {"git": {"commit": None}, "seconds": 1.0}
        parameters = SimpleNamespace(chapter="a_direct", profile="paper", device="cpu")
        made[letter] = SimpleNamespace(metrics=metrics, id=letter, receipt=receipt, parameters=parameters)
        priced[letter] = {"seconds_once": once, "seconds_each": each}
    monkeypatch.setattr(cost, "of_runs", lambda runs: pd.DataFrame(priced).T.rename_axis("method"))
    return cast(Mapping[str, Run], made)


def cheapest(goal: str, name: str, number: int) -> str:
    """The best method, counted out by hand."""
    places = [printed.LAMBDAS.index(end) for end in choice.RANGES[name]]
    gaps = {}
    for letter, (accuracy, evidence, _) in METHODS.items():
        found = []
        for k in places:
            if goal == "accuracy":
                found.append(max(other[0][k] for other in METHODS.values()) - accuracy[k])
            else:
                found.append(evidence[k] / max(other[1][k] for other in METHODS.values()) - 1)
        gaps[letter] = sum(found) / 2
    near = [letter for letter, gap in gaps.items() if gap <= min(gaps.values()) + choice.NEAR[goal]]
    return min(near, key=lambda letter: METHODS[letter][2][0] + number * METHODS[letter][2][1])


ASKED = list(product(choice.NEAR, choice.RANGES))


@pytest.mark.parametrize(("goal", "name"), ASKED)
def test_the_best_method_is_the_cheapest_of_those_near_the_best(runs, goal, name):
    own = choice.measured(runs).query("goal == @goal and range == @name")
    found = [choice.best(own, number)["method"] for number in range(1, choice.MOST + 1)]
    assert found == [cheapest(goal, name, number) for number in range(1, choice.MOST + 1)]
    steps = dict(choice.crossings(own))
    assert steps == {k: letter for k, letter in enumerate(found, 1) if k == 1 or letter != found[k - 2]}


def test_one_value_is_trained_for_and_many_come_from_one_network(runs):
    own = choice.measured(runs).query("goal == 'accuracy' and range == 'low'")
    assert choice.crossings(own) == [(1, "a"), (6, "g")]  # five trainings take as long as (g), 100 s
    own = choice.measured(runs).query("goal == 'evidence' and range == 'high'")
    assert choice.crossings(own) == [(1, "a"), (3, "d"), (19, "g")]
    text = choice.sentence(own, 8)
    assert text.startswith(
        "Use (d) low-rank, fine-tuned: 69 s of one core for 8 values of λ, and an evidence 1.2% behind"
    )
    assert "Most reaches (a) direct: the best evidence at both ends of the range, for 160 s of one core." in text


def test_the_page_has_an_answer_to_every_choice_with_its_command_and_all_methods(runs):
    found = choice.measured(runs)
    page = BeautifulSoup(choice.answers(found, runs).plain["text/html"], "html.parser")
    answers = {tuple(str(div[f"data-{part}"]) for part in ("goal", "range", "number")): div
               for div in page.select("div[data-goal]")}  # fmt: skip
    assert set(answers) == {(goal, name, str(number)) for (goal, name), number in product(ASKED, choice.COUNTS)}
    for (goal, name, number), div in answers.items():
        own = found[(found["goal"] == goal) & (found["range"] == name)]
        best = choice.best(own, int(number))["method"]
        assert choice.sentence(own, int(number)) in div.get_text()
        assert f"ccbook run {best} --set lambdas=" in div.get_text()
        dots = {group.get_text(): group.select("circle") for group in div.select("g[style]")}
        assert {letter: len(circles) for letter, circles in dots.items()} == {
            f"({letter})": 1 + (letter == best) for letter in METHODS
        }  # a ring around the best
        rows = own.assign(seconds=own["once"] + int(number) * own["each"]).set_index("method")
        for place, quantity in (("cx", "seconds"), ("cy", "behind")):
            drawn = {letter: float(str(dots[f"({letter})"][-1][place])) for letter in METHODS}
            assert sorted(drawn, key=drawn.__getitem__) == list(rows[quantity].sort_values(kind="stable").index)
        (label,) = (str(picture["aria-label"]) for picture in div.select("svg"))
        assert all(f"({letter})" in label for letter in METHODS)


@pytest.mark.parametrize("letter", "acdg")
def test_the_command_of_an_answer_is_one_that_the_program_takes(letter):
    words = choice.command(letter, "high", 4).split()
    text = ended(ccbook(*words[1:], "--dry-run"))
    assert "lambdas       [10.0, 21.5, 46.4, 100.0]" in text
    assert "seeds         [0]" in text


# ---- before and after a fine-tuning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "floor"), [(0.6, 0.5), (0.4, 0.0)])
def test_a_fine_tuning_is_drawn_before_and_after_with_b_and_from_half_where_all_are_above(monkeypatch, least, floor):
    def made(letter: str, height: float) -> Run:
        rows = [(letter, lam, seed, percent, height - 0.1 * seed - percent / 1000)
                for lam in (1, 10, 100) for seed in (0, 1) for percent in (0, 50, 90)]  # fmt: skip
        curves = pd.DataFrame(rows, columns=["method", "lam", "seed", "pruned_percent", "accuracy"])
        parameters = SimpleNamespace(method=letter, chapter=f"{letter}_x", profile="paper", device="cpu", epochs=1)
        return cast(Run, SimpleNamespace(curves=curves, parameters=parameters))

    drawn: list = []
    monkeypatch.setattr(method_page.artefacts, "figure", lambda name, chart, *rest: drawn.append(chart))
    heights = {"d": 0.95, "c": 0.9, "b": least + 0.05 + 0.09}  # the mean of two seeds at 90% is so much lower
    method_page.before_and_after(*(made(letter, height) for letter, height in heights.items()))
    panels = [ax for ax in drawn[0].axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["λ = 1", "λ = 10", "λ = 100"]
    for ax in panels:
        assert ax.get_ylim() == (floor, 1)
        for line, height in zip(ax.lines, heights.values(), strict=True):
            assert np.asarray(line.get_ydata()) == pytest.approx([height - 0.05 - p / 1000 for p in (0, 50, 90)])
    plt.close(drawn[0])
