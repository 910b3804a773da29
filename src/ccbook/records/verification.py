"""A run trained again beside the record of it: the same numbers, or how far apart."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ccbook.records.run import Run
from ccbook.wording import count

SAME, NEAR, DIFFERENT = "the same bytes", "within the seeds' interval", "different"


class Verification(NamedTuple):
    """How a repetition compares with the record."""

    verdict: str  # SAME, NEAR or DIFFERENT
    text: str  # with the distance, and both machines


def compare(recorded: Run, again: Run) -> Verification:
    """Compare by bytes, then each metric's mean with the record's 95% interval over the seeds, at each lambda."""
    if recorded.numbers == again.numbers:
        return Verification(SAME, f"{recorded.id}: {SAME}")
    worst, seeds = _distances(recorded.metrics, again.metrics).iloc[0], recorded.metrics["seed"].nunique()
    verdict, distance = DIFFERENT, "one seed has no interval, so only the same bytes could agree"
    if seeds > 1:
        verdict = NEAR if worst["intervals"] <= 1 else DIFFERENT
        distance = (f"the {worst['metric']} at lambda {worst['lam']:g} is furthest off: {worst['before']:,.6g} recorded"
                    f", {worst['now']:,.6g} now, {worst['intervals']:.2g} times the half width of the interval over "
                    f"{seeds} seeds")  # fmt: skip
    before, now = (f"{receipt['processor']}, {count(receipt['cores'], 'core')}, torch {receipt['versions']['torch']}"
                   for receipt in (recorded.receipt, again.receipt))  # fmt: skip
    code = "" if again.id == recorded.id else "; the code, or torch, has changed since"
    return Verification(verdict, f"{recorded.id}: {verdict}; {distance} (recorded on {before}; now on {now}{code})")


def interval(values: Any) -> float:
    """Half the width of the 95% interval of a mean over seeds (Student's t); NaN for a single seed."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else np.nan


def _distances(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Rows of metric, lam, before, now, and their distance in half widths of the interval; the furthest first."""
    rows = []
    for lam, group in before.groupby("lam"):
        for metric in group.columns.drop(["method", "lam", "seed"]):
            mean, half = group[metric].mean(), interval(group[metric])
            new = now[now["lam"] == lam][metric].mean()
            distance = 0.0 if new == mean else abs(new - mean) / half if half > 0 else np.inf
            rows.append({"metric": metric, "lam": lam, "before": mean, "now": new, "intervals": distance})
    return pd.DataFrame(rows).sort_values("intervals", ascending=False, na_position="first")
