"""Which method should I use? Seconds against quality, for how many lambdas, which, and judged by what."""

import html
import json
import shlex
from collections.abc import Mapping
from itertools import groupby, product

import numpy as np
import pandas as pd

from ccbook.book import artefacts, cost
from ccbook.book.formats import choices
from ccbook.book.plots import look
from ccbook.chapters import METHODS
from ccbook.records.run import Run
from ccbook.wording import assignments, count

RANGES = {"low": (0.1, 1.0), "middle": (1.0, 10.0), "high": (10.0, 100.0)}  # of lambda; both ends are recorded
COUNTS = [1, 2, 4, 8, 16, 32]  # of lambdas, to choose from
MOST = 100  # lambdas, up to which the table tells
NEAR = {"accuracy": 0.01, "evidence": 0.05}  # behind the best method: nobody would pay for more
GAPS = {"accuracy": "{:.1f} points", "evidence": "{:.1f}%"}  # each of a hundredth
UNITS = {"accuracy": "points of accuracy", "evidence": "evidence"}
TICKS = {"accuracy": [0, 0.01, 0.05, 0.1], "evidence": [0, 0.05, 0.5, 5]}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 300, 110, 14, 56  # of a picture


def measured(runs: Mapping[str, Run]) -> pd.DataFrame:
    """For each goal, range and method, how far it is behind the best method and what it costs for one seed.

    Returns: goal, range, method, behind (a share of the digits, or of the best evidence; at each lambda of the range,
        then the mean), accuracy (its mean), once and each (seconds of one core, and of one core for each lambda).
    """
    priced = cost.of_runs(runs)[["seconds_once", "seconds_each"]].set_axis(["once", "each"], axis=1)
    means = {goal: pd.DataFrame({letter: run.metrics.groupby("lam")[goal].mean() for letter, run in runs.items()})
             for goal in NEAR}  # fmt: skip
    behind = {
        "accuracy": (-means["accuracy"]).add(means["accuracy"].max(axis="columns"), axis="index"),
        "evidence": means["evidence"].div(means["evidence"].max(axis="columns"), axis="index") - 1,  # of negative ones
    }
    tables = []
    for goal, (name, ends) in product(NEAR, RANGES.items()):
        own = {"behind": behind[goal].loc[[*ends]].mean(), "accuracy": means["accuracy"].loc[[*ends]].mean()}
        tables.append(priced.assign(goal=goal, range=name, **own).reset_index())
    columns = ["goal", "range", "method", "behind", "accuracy", "once", "each"]
    return pd.concat(tables, ignore_index=True)[columns].round(6)  # what its file says is what the page says


def best(own: pd.DataFrame, number: int) -> pd.Series:
    """Of the methods NEAR the best one, that which takes the fewest seconds for a number of lambdas.

    Args: own, rows of measured() of one goal and range.
    """
    near = own[own["behind"] <= own["behind"].min() + NEAR[own["goal"].iloc[0]]]
    return near.loc[(near["once"] + number * near["each"]).idxmin()]


def crossings(own: pd.DataFrame) -> list[tuple[int, str]]:
    """The numbers of lambdas from which another method is the best, with its letter."""
    letters = ((number, best(own, number)["method"]) for number in range(1, MOST + 1))
    return [next(group) for _, group in groupby(letters, key=lambda pair: pair[1])]


def lambdas(name: str, number: int) -> list[float]:
    """So many lambdas of a range, evenly spread on a logarithmic scale."""
    low, high = RANGES[name]
    grid = np.geomspace(low, high, number) if number > 1 else [(low * high) ** 0.5]
    return [json.loads(f"{lam:.3g}") for lam in grid]


def command(letter: str, name: str, number: int) -> str:
    """What trains a method for so many lambdas of a range."""
    words = assignments({"lambdas": lambdas(name, number), "seeds": [0]})
    return shlex.join(["ccbook", "run", letter, *words, *["--with-start"] * bool(METHODS[letter].start)])


def sentence(own: pd.DataFrame, number: int) -> str:
    """The best method for a number of lambdas, what it costs and reaches, and the method that reaches most."""
    goal, chosen, top = own["goal"].iloc[0], best(own, number), own.loc[own["behind"].idxmin()]

    def reached(row: pd.Series) -> str:
        if goal == "accuracy":
            return f"an accuracy of {row['accuracy']:.1%}"
        if row["behind"] == 0:
            return "the best evidence at both ends of the range"
        return f"an evidence {GAPS[goal].format(100 * row['behind'])} behind the best, mean over the range's ends"

    def seconds(row: pd.Series) -> str:
        return f"{row['once'] + number * row['each']:,.0f} s of one core"

    text = (
        f"Use {METHODS[chosen['method']]}: {seconds(chosen)} for {count(number, 'value')} of λ, and {reached(chosen)}."
    )
    if chosen["method"] == top["method"]:
        return f"{text} No other of these reaches more."
    return f"{text} Most reaches {METHODS[top['method']]}: {reached(top)}, for {seconds(top)}."


def table(found: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The best method for every number of lambdas, in one table: a row each range, a column each goal."""
    text = {}
    for (goal, name), own in found.groupby(["goal", "range"], sort=False):
        steps = [f"from {number}: {METHODS[letter]}" if number > 1 else str(METHODS[letter])
                 for number, letter in crossings(own)]  # fmt: skip
        text[_range(str(name)), f"judged by {goal}"] = "; ".join(steps)
    shown = pd.Series(text).unstack(sort=False)
    caption = (
        f"The cheapest method within {100 * NEAR['accuracy']:g} point of the best accuracy, or "
        f"{NEAR['evidence']:.0%} of the best evidence, and from how many values of λ (up to {MOST})."
    )
    return artefacts.table("cost-best", shown, caption, found, runs.values())


def _range(name: str) -> str:
    return "{}: λ from {:g} to {:g}".format(name, *RANGES[name])


def answers(found: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The answer to each choice, of which the style sheet shows the chosen one; no script is needed."""
    asked = [
        choices("number", "How many values of λ?", {str(number): str(number) for number in COUNTS}),
        choices("range", "Which?", {name: _range(name) for name in RANGES}),
        choices("goal", "Judged by?", {goal: goal for goal in NEAR}),
    ]
    given = []
    for (goal, name), own in found.groupby(["goal", "range"], sort=False):
        for number in COUNTS:
            typed = html.escape(command(best(own, number)["method"], str(name), number))
            given.append(
                f'<div data-goal="{goal}" data-range="{name}" data-number="{number}">{_picture(own, number)}'
                f'<p class="answer">{sentence(own, number)}</p><div class="highlight"><pre>{typed}</pre></div></div>'
            )
    drawn = f'<div class="which">{"".join(asked)}<div aria-live="polite">{"".join(given)}</div></div>'
    caption = (
        "Seconds of one core (across, logarithmic) against how far a method is behind the best (upwards is better), "
        "for one seed. In the shaded band a method is near enough to the best; the cheapest there is ringed."
    )
    return artefacts.block("cost-which", drawn, caption, found, runs.values())


def _picture(own: pd.DataFrame, number: int) -> str:
    """Each method at its seconds and its distance from the best; the best one ringed."""
    goal, chosen = own["goal"].iloc[0], best(own, number)["method"]
    prices = [own["once"] + k * own["each"] for k in (COUNTS[0], COUNTS[-1])]  # the axis is the same for all numbers
    ends = np.log(
        [max(min(price[price > 0].min() for price in prices), 0.01) / 1.3, max(p.max() for p in prices) * 1.6]
    )
    deepest = max(own["behind"].max(), TICKS[goal][-1])

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT) * float((np.log(max(seconds, 0.01)) - ends[0]) / (ends[1] - ends[0]))

    def y(behind: float) -> float:  # even steps near the best, and ever smaller ones far from it
        share = np.log1p(behind / NEAR[goal]) / np.log1p(deepest / NEAR[goal])
        return TOP + 10 + (HEIGHT - TOP - BOTTOM - 20) * float(share)

    def text(at: float, height: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{at:.1f}" y="{height:.1f}" text-anchor="{anchor}">{words}</text>'

    floor, near = HEIGHT - BOTTOM, y(own["behind"].min() + NEAR[goal])
    marks = [f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT}" height="{near - TOP:.1f}"/>']
    for tick in TICKS[goal]:
        words = f"−{100 * tick:g}{'%' * (goal == 'evidence')}" if tick else "best"
        marks += [f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH}"/>', text(LEFT - 6, y(tick) + 5, words, "end")]
    for tick in 10.0 ** np.arange(-2, 5):
        if ends[0] < np.log(tick) < ends[1]:
            marks += [f'<path d="M{x(tick):.1f} {TOP}V{floor}"/>', text(x(tick), floor + 22, f"{tick:g}")]
    marks.append(text((LEFT + WIDTH) / 2, HEIGHT - 6, f"seconds for {count(number, 'value')} of λ"))
    marks.append(f'<g transform="translate(20 {(TOP + floor) / 2}) rotate(-90)">{text(0, 0, UNITS[goal])}</g>')
    heard: list[str] = []
    for row in own.sort_values("behind", ascending=False).to_dict("records"):
        shown, seconds = look(row["method"]), row["once"] + number * row["each"]
        at = f'cx="{x(seconds):.1f}" cy="{y(row["behind"]):.1f}"'
        colour = "currentColor" if shown["colour"] == "#000000" else shown["colour"]
        ring = f'<circle {at} r="11" class="ring"/>' * (row["method"] == chosen)
        side = -1 if METHODS[row["method"]].is_hypernetwork else 1  # a fine-tuning is a little to the right of its own
        label = text(x(seconds) + 14 * side, y(row["behind"]) + 5, shown["short"], "end" if side < 0 else "start")
        group = f'style="--colour: {colour}" class="{"solid" if shown["solid"] else "open"}"'
        marks.append(f'<g {group}>{ring}<circle {at} r="6"/>{label}</g>')
        heard.insert(0, f"{shown['title']} {seconds:,.0f} s, {GAPS[goal].format(100 * row['behind'])} behind")
    said = f"For {count(number, 'value')} of λ, judged by {goal}: {'; '.join(heard)}."
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(said)}">{"".join(marks)}</svg>'
