"""What the paper's text asserts, each sentence as a test on recorded runs, and on the paper's own numbers.

claims.csv has the sentences and all that their tests read. The chapter Claims says what changed on 2026-11-25, and why.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ccbook.compare import printed
from ccbook.compare.cells import removable, total_updates
from ccbook.records.run import Run
from ccbook.records.verification import interval

ANY = 0.0  # "lower", "more stable", "falls": by any amount
LOSS = 0.05  # a difference of accuracy by more is "significant"; the paper names no number
FLAT = 0.02  # a curve that moves by at most this is "constant"
SMALL = 0.01  # a distance from the mean over seeds up to this is "insignificant"
SAME = 0.10  # stabilities that differ by at most this, relatively, are "the same"
NEAR = 0.03  # "about 0.90"
SIMILAR = 0.05  # accuracies that are lower by at most this are "similar": a "slight loss"
MUCH = 2.0  # "much larger" is more than this many times as large
FEWER = -0.5  # relative difference of the updates; the cost is "substantially" less from here on

ALL = 0.0  # stands for all four lambdas together
INDEX = ["method", "lam", "seed"]
MARKS = {"as claimed": "", "undecided": " (undecided)", "not": " (not)"}  # a case's states


class Evidence(NamedTuple):
    """Numbers by method, lambda and seed; the paper's have one seed."""

    curves: pd.DataFrame  # accuracy, a column for each percent removed
    metrics: pd.DataFrame  # the columns of METRICS; updates at ALL
    reading: float = 0.0  # half the width of the interval of a single seed's accuracies


class Case(NamedTuple):
    """A claim for one method, or for two beside each other, at one lambda, or from one to another."""

    methods: str
    at: str
    number: str  # mean over seeds ± half the width of its 95% interval
    state: str  # of MARKS
    lam: float  # the first of its lambdas, or ALL
    margins: tuple[float, float, float]  # of the interval's worse end, the mean and the better end, see margin()


class Claim(NamedTuple):
    """A line of claims.csv: in each case the quantity, compared by the rule, passes the test against the threshold."""

    name: str
    claim: str
    quantity: str  # of METRICS or CURVES
    rule: str  # value, minus, times, ratio, steps, last or best, see compared()
    one: str  # letters of methods; for best, one for each lambda
    other: str
    low: int  # percent of the weights removed
    high: int
    lambdas: tuple[float, ...]
    test: str  # more than, at most or within ±
    threshold: float

    def cases(self, e: Evidence) -> list[Case]:
        """The cases for which there are numbers; of one seed the number alone decides, as it has no interval."""
        of_curve, cases = CURVES.get(self.quantity), []
        numbers = of_curve(e.curves.loc[:, self.low : self.high]) if of_curve else e.metrics[METRICS[self.quantity]]
        table, reading = numbers.unstack("seed"), e.reading if of_curve and "accuracy" in self.quantity else 0.0
        for methods, lambdas, by_seed in self.compared(lambda *cell: table.reindex([cell]).iloc[0]):
            if values := by_seed.dropna().tolist():
                mean, half = float(np.mean(values)), interval(values) if len(values) > 1 else reading
                form = ".1%" if self.rule == "ratio" else ",.0f" if abs(mean) > 10 else ".4f"
                text = f"{mean:{form}}" + (f" ± {half:{form}}" if half > 1e-9 else "")
                at = "all λ" if lambdas == (ALL,) else "λ=" + "→".join(map("{:g}".format, lambdas))
                ends = mean - half, mean + half
                worst, best = self.margins(*ends)
                margins = worst, self.margin(mean), best
                cases.append(Case(methods, at, text.replace("-", "−"), self.state(*ends), lambdas[0], margins))
        return cases

    def compared(self, of: Callable[[str, float], pd.Series]) -> Iterator[tuple[str, tuple[float, ...], pd.Series]]:
        """For each case the methods, the lambdas, and the number for each seed; `of` gives the quantity by seed."""
        if self.rule in ("steps", "last"):  # how far it falls from each lambda to the next, or to the last
            steps = pairwise(self.lambdas) if self.rule == "steps" else product(self.lambdas[:-1], self.lambdas[-1:])
            for method, (start, end) in product(self.one, steps):
                yield f"({method})", (start, end), of(method, start) - of(method, end)
        elif self.rule == "best":  # how far the method with the paper's best number is ahead of the best other one
            sign = -1 if "stability" in self.quantity else 1  # a lower S is better
            for best, lam in zip(self.one, self.lambdas, strict=True):
                rivals = {method: sign * of(method, lam).mean() for method in self.other if method != best}
                left, right = (best, max(rivals, key=rivals.__getitem__))[::sign]
                yield f"({left}) − ({right})", (lam,), of(left, lam) - of(right, lam)
        else:
            text, difference = DIFFERENCES[self.rule]
            for one, other, lam in product(self.one, self.other or "-", self.lambdas):
                yield text.format(one, other), (lam,), difference(of(one, lam), of(other, lam))

    def state(self, low: float, high: float) -> str:
        """As claimed if the whole interval passes the test, not if all of it fails, else undecided."""
        worst, best = self.margins(low, high)
        if self.test == "more than":
            passes, fails = worst > 0, best <= 0
        else:
            passes, fails = worst >= 0, best < 0
        return "as claimed" if passes else "not" if fails else "undecided"

    def margin(self, value: float) -> float:
        """How far a number is on the side of the threshold that is claimed; negative on the other."""
        if self.test == "more than":
            return value - self.threshold
        return self.threshold - (value if self.test == "at most" else abs(value))

    def margins(self, low: float, high: float) -> tuple[float, float]:
        """The margins of an interval's worst and best number."""
        nearest = [0.0] if self.test == "within ±" and low <= 0 <= high else []
        found = [self.margin(value) for value in (low, high, *nearest)]
        return min(found), max(found)


def _deviation(curves: pd.DataFrame) -> pd.Series:
    """Each seed's distance from the mean over seeds, as in Levene's test of spreads; a single seed has none."""
    seeds = curves.groupby(["method", "lam"])
    return (curves - seeds.transform("mean")).abs().mean(axis=1).where(seeds.transform("size") > 1)


METRICS = {
    "accuracy of Table 1, mean over 0–90% removed": "accuracy_curve_mean", "stability S, 1 is best": "stability",
    "evidence, nats": "evidence", "KL, nats": "kl", "updates for all four λ": "updates",
}  # fmt: skip
CURVES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {  # of the columns from low to high
    "accuracy of the whole network": lambda curves: curves[0],
    "accuracy lost from {low}% to {high}% removed": lambda curves: curves.iloc[:, 0] - curves.iloc[:, -1],
    "range of the accuracy over {low}–{high}% removed": lambda curves: curves.apply(np.ptp, axis=1),
    "mean accuracy over {low}–{high}% removed, less 0.90": lambda curves: curves.mean(axis=1, skipna=False) - 0.9,
    "distance from the mean over seeds, mean over {low}–{high}% removed": _deviation,
    "share of the weights needed to lose at most {loss}": lambda curves: 1 - removable(curves.dropna(), LOSS) / 100,
}
DIFFERENCES: dict[str, tuple[str, Callable[[pd.Series, pd.Series], pd.Series]]] = {  # seed by seed
    "value": ("({})", lambda one, _: one),
    "minus": ("({}) − ({})", lambda one, other: one - other),
    "times": (f"({{}}) − {MUCH:g} × ({{}})", lambda one, other: one - MUCH * other),
    "ratio": ("({}) / ({}) − 1", lambda one, other: one / other - 1),
}
WORDS = {"steps": "fall from each λ to the next", "last": "fall to the last λ", "best": "({}) against the best other"}


def of_runs(runs: Mapping[str, Run]) -> Evidence:
    """What was recorded, at the paper's lambdas."""
    curves = pd.concat(run.curves for run in runs.values()).query("lam in @printed.LAMBDAS")
    metrics = pd.concat(run.metrics for run in runs.values()).query("lam in @printed.LAMBDAS")
    updates = pd.concat({(method, ALL): total_updates(own) for method, own in metrics.groupby("method")}, names=INDEX)
    metrics = metrics.drop(columns="updates").set_index(INDEX).join(updates.rename("updates"), how="outer")
    return Evidence(curves.pivot(index=INDEX, columns="pruned_percent", values="accuracy"), metrics)


def of_paper() -> Evidence:
    """What the paper prints, and what could be read off its Figure 1."""
    tables = printed.tables().fillna({"lam": ALL})
    metrics = tables.assign(seed=0).pivot(index=INDEX, columns="quantity", values="value").assign(kl=np.nan)
    curves = printed.curves().assign(seed=0).pivot(index=INDEX, columns="pruned_percent", values="value")
    return Evidence(curves, metrics, reading=0.006)  # the difference between two points, each read to 0.003


def all_cases(runs: Mapping[str, Run]) -> Iterator[tuple[Claim, list[Case], list[Case]]]:
    """Each claim with its cases on our numbers, none without the runs that it needs, and on the paper's."""
    usable = {method: run for method, run in runs.items() if run.parameters.profile == "paper"}
    ours, paper = of_runs(usable) if usable else None, of_paper()
    for claim in CLAIMS:
        tested = ours and {*claim.one, *claim.other} <= {*usable}
        yield claim, claim.cases(ours) if ours and tested else [], claim.cases(paper)


def judge(runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row for each claim: name, claim, quantity, value, test, verdict, paper_itself, run."""
    return judged(all_cases(runs), runs)


def judged(found: Iterable[tuple[Claim, list[Case], list[Case]]], runs: Mapping[str, Run]) -> pd.DataFrame:
    """The rows of judge(), of all_cases() that are there already."""
    rows = []
    for claim, cases, theirs in found:
        # what the test says of the paper's own numbers, and which of its cases fail
        failing = [case for case in theirs if case.state != "as claimed"]
        counts = f"{verdict(theirs)}, {len(theirs) - len(failing)} of {len(theirs)}"
        words, pair = WORDS.get(claim.rule) or DIFFERENCES[claim.rule][0], map(", ".join, (claim.one, claim.other))
        rows.append({
            "name": claim.name, "claim": claim.claim, "value": in_words(cases), "verdict": verdict(cases),
            "quantity": f"{claim.quantity}, {words}".format(*pair, low=claim.low, high=claim.high, loss=LOSS),
            "test": f"{claim.test} {claim.threshold:{'.0%' if claim.rule == 'ratio' else 'g'}}".replace("-", "−"),
            "paper_itself": counts + "; " * bool(failing) + in_words(failing) if theirs else "–",
            "run": " ".join(runs[m].id for m in sorted({*claim.one, *claim.other}) if m in runs)})  # fmt: skip
    return pd.DataFrame(rows)[["name", "claim", "quantity", "value", "test", "verdict", "paper_itself", "run"]]


def verdict(cases: list[Case]) -> str:
    """Holds if every case is as claimed, undecided if every case is, does not hold if none is, else holds in part."""
    states = {case.state for case in cases}
    if "as claimed" in states:
        return "holds" if len(states) == 1 else "holds in part"
    return "does not hold" if "not" in states else "undecided" if states else "not tested"


def in_words(cases: list[Case]) -> str:
    """The cases for a reader, those of the same methods together."""
    return "; ".join(f"{methods} at " + ", ".join(f"{c.at}: {c.number}{MARKS[c.state]}" for c in group)
                     for methods, group in groupby(cases, key=lambda case: case.methods))  # fmt: skip


def _read() -> list[Claim]:
    """The claims, in the order of claims.csv; a threshold there is the name of a constant here."""
    rows = pd.read_csv(Path(__file__).with_name("claims.csv"), dtype={"lambdas": str}, keep_default_na=False)
    lambdas = [tuple(ALL if lam == "all" else float(lam) for lam in text.split()) for text in rows["lambdas"]]
    rows = rows.assign(lambdas=lambdas, threshold=rows["threshold"].map(globals()))
    return [Claim(**row) for row in rows.to_dict("records")]


CLAIMS = _read()
