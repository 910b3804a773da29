"""What the paper's text asserts, each sentence as a test on recorded runs.

The sentences stand in claims.csv, the rules that test them and the thresholds here. The thresholds were written before
the first runs of (c) to (f), and after a first run of (a) and (b), whose tables had been seen, but not their pruning
curves.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ccbook.compare import printed
from ccbook.compare.cells import removable, total_updates
from ccbook.records.run import Run

LOSS = 0.05  # a fall of accuracy by more is "significant"; the paper names no number
FLAT = 0.02  # a curve that moves by less is "constant"
SMALL_SD = 0.01  # a standard deviation over seeds below it is "insignificant"
SAME = 0.10  # stabilities that differ by less, relatively, are "the same"
NEAR = 0.03  # "about 0.90"
SIMILAR = 0.05  # accuracies that differ by less are "similar": a "slight loss"
WORSE = 0.1  # evidence that is lower by more, relatively, is "not enough"
POINTS = 20  # percent of the weights; shares that differ by less are "kept"

Outcome = dict[str, tuple[str, bool]]  # case -> what was measured, and whether it is as claimed
_at = "λ={:g}".format  # names a case


class Evidence(NamedTuple):
    """Means and standard deviations over seeds, by method."""

    mean: dict[str, pd.DataFrame]  # accuracy, lambda × percent removed
    sd: dict[str, pd.DataFrame]
    stability: dict[str, pd.Series]  # by lambda
    evidence: dict[str, pd.Series]
    updates: dict[str, float]  # for one seed and all four lambdas


class Claim(NamedTuple):
    """A line of claims.csv; rules read the percents in its quantity and the letters in its test."""

    name: str
    methods: str  # letters whose runs it needs
    claim: str
    quantity: str
    test: str  # with the constants above in braces
    rule: str  # one of RULES
    lambdas: tuple[float, ...]

    def outcome(self, e: Evidence) -> Outcome:
        """What was measured for each case."""
        return RULES[self.rule](e, self)

    def at_percents(self, e: Evidence) -> dict[float, list[float]]:
        """The method's accuracies at the percents that the quantity names, such as 0% and 60%, by lambda."""
        percents = [int(percent) for percent in re.findall(r"(\d+)%", self.quantity)]
        return {lam: e.mean[self.methods].loc[lam, percents].tolist() for lam in self.lambdas}

    def over_percents(self, table: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """The method's columns over the range that the quantity names, such as 0–60%."""
        low, high = (int(percent) for percent in re.findall(r"(\d+)–(\d+)%", self.quantity)[0])
        return table[self.methods].loc[:, low:high]


def gather(runs: Mapping[str, Run]) -> Evidence:
    """What the claims are about, at the paper's lambdas."""
    mean, sd, stability, evidence, updates = {}, {}, {}, {}, {}
    for method, run in runs.items():
        curves, metrics = (rows[rows["lam"].isin(printed.LAMBDAS)] for rows in (run.curves, run.metrics))
        points = curves.groupby(["lam", "pruned_percent"])["accuracy"]
        mean[method], sd[method] = points.mean().unstack(), points.std().unstack()
        stability[method] = metrics.groupby("lam")["stability"].mean()
        evidence[method] = metrics.groupby("lam")["evidence"].mean()
        updates[method] = float(total_updates(metrics).mean())
    return Evidence(mean, sd, stability, evidence, updates)


def judge(runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row for each claim: name, claim, quantity, value, test, verdict, run.

    The verdict is holds if every case does, holds in part if some do, does not hold if none does, and not tested
    without the runs, or with runs that are not at the paper's scale.
    """
    usable = {method: run for method, run in runs.items() if run.parameters.profile == "paper"}
    e, rows = gather(usable), []
    for claim in CLAIMS:
        outcome = claim.outcome(e) if set(claim.methods) <= set(usable) else {}
        value = "; ".join(f"{case}: {value}{'' if ok else ' (not)'}" for case, (value, ok) in outcome.items())
        ids = " ".join(runs[method].id for method in claim.methods if method in runs)
        judged = {"value": value, "verdict": verdict([ok for _, ok in outcome.values()]), "run": ids}
        rows.append(claim._asdict() | judged)
    return pd.DataFrame(rows)[["name", "claim", "quantity", "value", "test", "verdict", "run"]]


def verdict(cases: list[bool]) -> str:
    """The verdict on a claim, from whether each of its cases is as claimed."""
    if not cases:
        return "not tested"
    return "holds" if all(cases) else "holds in part" if any(cases) else "does not hold"


def _loss(e: Evidence, claim: Claim, holds: Callable[[float], bool]) -> Outcome:
    """Whether the accuracy lost from one percent to another is as claimed."""
    at = claim.at_percents(e)
    if claim.rule == "falls":  # after the paper's bends: at 60% for the two smaller lambdas, at 80% for the larger
        at = {lam: [at_60 if lam < 10 else at_80, at_90] for lam, (at_60, at_80, at_90) in at.items()}
    return {_at(lam): (f"{a:.3f} → {b:.3f}", bool(holds(a - b))) for lam, (a, b) in at.items()}


def _above(e: Evidence, claim: Claim) -> Outcome:
    """Whether the quantity of one method lies above another's; the test names the two: (a) above (c)."""
    left, right = re.findall(r"\((\w)\)", claim.test)
    one, other = (QUANTITIES[claim.quantity](e, method) for method in (left, right))
    return {_at(lam): (f"({left}) {one[lam]:.3f}, ({right}) {other[lam]:.3f}", bool(one[lam] > other[lam]))
            for lam in claim.lambdas}  # fmt: skip


QUANTITIES: dict[str, Callable[[Evidence, str], pd.Series]] = {
    "accuracy of the whole network": lambda e, method: e.mean[method][0],
    "standard deviation over seeds, mean over pruning levels": lambda e, method: e.sd[method].mean(axis="columns"),
    "standard deviation over seeds, mean over 70–90% removed": lambda e, m: e.sd[m][[70, 80, 90]].mean(axis="columns"),
    "stability S, 1 is best": lambda e, method: e.stability[method],
}


def _low(e: Evidence, claim: Claim) -> Outcome:
    """Whether the accuracy of the whole network at the claim's lambda is far below that at every other."""
    (lam,) = claim.lambdas
    low, others = e.mean["a"][0][lam], e.mean["a"][0].drop(lam)
    return {_at(lam): (f"{low:.3f} against {others.min():.3f} or more", bool(others.min() - low > LOSS))}


def _each(values: pd.Series, text: str, holds: Callable[[float], bool], claim: Claim) -> Outcome:
    """A value for each lambda, its words, and whether it is as claimed."""
    return {_at(lam): (text.format(values[lam]), bool(holds(values[lam]))) for lam in claim.lambdas}


def _differs(e: Evidence, claim: Claim, methods: str, holds: Callable[[float], bool]) -> Outcome:
    """How the methods' accuracies differ from (a)'s."""
    gaps = {(m, lam): e.mean[m][0][lam] - e.mean["a"][0][lam] for m in methods for lam in claim.lambdas}
    return {f"({m}) {_at(lam)}": (f"{gap:+.3f}", bool(holds(gap))) for (m, lam), gap in gaps.items()}


def _cheaper(e: Evidence, claim: Claim) -> Outcome:
    return {f"({m})": (f"{e.updates[m] / e.updates['a']:.1%} of (a)'s", e.updates[m] < e.updates["a"]) for m in "cdef"}


def _alike(e: Evidence, claim: Claim) -> Outcome:
    shares = {method: removable(e.mean[method], LOSS) for method in "acdef"}
    cases = {(m, lam): (shares[m][lam], shares["a"][lam]) for m in "cdef" for lam in claim.lambdas}
    return {f"({m}) {_at(lam)}": (f"{theirs:.0f}% against {ours:.0f}%", abs(theirs - ours) <= POINTS)
            for (m, lam), (theirs, ours) in cases.items()}  # fmt: skip


def _moves(e: Evidence, claim: Claim, bound: float) -> Outcome:
    return _each(claim.over_percents(e.mean).apply(np.ptp, axis=1), "moves by {:.3f}", lambda by: by <= bound, claim)


RULES: dict[str, Callable[[Evidence, Claim], Outcome]] = {
    "above": _above, "low": _low, "cheaper": _cheaper, "alike": _alike,
    "keeps": lambda e, c: _loss(e, c, lambda loss: loss <= LOSS),
    "loses": lambda e, c: _loss(e, c, lambda loss: loss > LOSS),
    "falls": lambda e, c: _loss(e, c, lambda loss: loss > 0),
    "flat": lambda e, c: _moves(e, c, LOSS),
    "constant": lambda e, c: _moves(e, c, FLAT),
    "about": lambda e, c: _each(c.over_percents(e.mean).mean(axis=1), "{:.3f}", lambda a: abs(a - 0.9) <= NEAR, c),
    "steady": lambda e, c: _each(c.over_percents(e.sd).max(axis=1), "{:.3f}", lambda sd: sd <= SMALL_SD, c),
    "same": lambda e, c: _each(e.stability["d"] / e.stability["c"], "ratio {:.3f}", lambda r: abs(r - 1) <= SAME, c),
    "worse": lambda e, c: _each((e.evidence["a"] - e.evidence["b"]) / e.evidence["a"].abs(),
                                "evidence worse by {:.0%}", lambda gap: gap > WORSE, c),
    "similar": lambda e, c: _differs(e, c, "cdef", lambda gap: gap >= -SIMILAR),
    "lower": lambda e, c: _differs(e, c, "ce", lambda gap: gap < 0),
}  # fmt: skip


def _read() -> list[Claim]:
    """The claims, in the order of claims.csv."""
    rows = pd.read_csv(Path(__file__).with_name("claims.csv"), dtype=str).to_dict("records")
    lambdas = [tuple(float(lam) for lam in row.pop("lambdas").split()) for row in rows]
    return [Claim(**{column: text.format(**globals()) for column, text in row.items()}, lambdas=at)
            for row, at in zip(rows, lambdas, strict=True)]  # fmt: skip


CLAIMS = _read()
