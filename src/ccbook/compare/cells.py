"""Ours beside the paper's, cell by cell, and a computed verdict on each."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ccbook.chapters import METHODS
from ccbook.compare import printed
from ccbook.records.run import Run
from ccbook.records.verification import interval

COLUMNS = ["table", "quantity", "method", "lam", "paper", "mean", "sd", "low", "high"]
COLUMNS += ["difference", "seeds", "run", "verdict"]
# the former rules left open whether Table 1's accuracy is the whole network's
FORMERLY_READ_AS = {"accuracy_curve_mean": ["accuracy", "accuracy_curve_mean"]}
ROUNDING = 1e-9  # of a share, and of a count as a share of it
# the printed counts imply 20 trained numbers more for each posterior than the paper's network has
EXTRA = 159_040 / 159_020

SMALL_LOSS = 0.02  # of accuracy, that a removal of weights may cost


@cache
def tolerances(former: bool = False) -> pd.DataFrame:
    """Rows of tolerance, kind and the reason for it, by quantity; the rules in force, or those before they changed.

    kind: absolute, relative to the paper's value, or reciprocal, of one over the values.
    """
    found = rules().set_index("quantity")
    return found[found["since" if former else "until"].isna()]


def rules() -> pd.DataFrame:
    """Every tolerance that is or was in force: quantity, tolerance, kind, since, until, reason."""
    return pd.read_csv(Path(__file__).with_name("tolerances.csv"))


def tolerances_off(quantity: str, paper: float, ours: float, former: bool = False) -> float:
    """How far ours is from the paper's, in tolerances of the quantity."""
    bound, reciprocal = _rule(quantity, paper, former)
    difference = abs(1 / ours - 1 / paper if reciprocal else ours - paper)
    return difference / bound if bound else 0.0 if difference == 0 else np.inf


def band(quantity: str, paper: float) -> tuple[float, float]:
    """The least and the greatest number that agree with the paper's."""
    bound, reciprocal = _rule(quantity, paper)
    return (1 / (1 / paper + bound), 1 / (1 / paper - bound)) if reciprocal else (paper - bound, paper + bound)


def _rule(quantity: str, paper: float, former: bool = False) -> tuple[float, bool]:
    """By how much ours may differ from the paper's, and whether their reciprocals are compared."""
    rule = tolerances(former).loc[quantity]
    return rule["tolerance"] * (abs(paper) if rule["kind"] == "relative" else 1), rule["kind"] == "reciprocal"


def verdict(quantity: str, paper: float, ours: float, former: bool = False) -> str:
    """agrees within the tolerance, close within twice the tolerance, or differs; not tested without a number."""
    if np.isnan(ours):
        return "not tested"
    off = tolerances_off(quantity, paper, ours, former)
    return "agrees" if off <= 1 else "close" if off <= 2 else "differs"


def judge(runs: Mapping[str, Run], former: bool = False) -> pd.DataFrame:
    """A row for each printed value.

    Args: runs, by the paper's letter of the method; one that is not there yields rows without our numbers. former,
        judge by the rules before they changed, under which Table 1 has two readings.
    Returns: the columns COLUMNS; mean, sd and the 95% interval low ... high of the mean are over seeds.
    """
    rows = []
    for cell in printed.tables().to_dict("records"):
        run, paper = runs.get(cell["method"]), cell["value"]
        for quantity in (FORMERLY_READ_AS if former else {}).get(cell["quantity"], [cell["quantity"]]):
            ours = _by_seed(run, quantity, cell["lam"]) if run else np.array([])
            row = cell | {"quantity": quantity, "paper": paper, "run": run.id if run else ""} | _summary(ours)
            row["difference"] = row["mean"] - paper
            # a quick run is a look at the machinery: a comparison with the paper would say nothing
            comparable = run is not None and run.parameters.profile == "paper"
            row["verdict"] = verdict(quantity, paper, row["mean"], former) if comparable else "not tested"
            if quantity == "updates" and row["verdict"] == "differs" and not former and run and _explained(cell, run):
                row["verdict"] = "explained"
            rows.append(row)
    return pd.DataFrame(rows)[COLUMNS]


def _explained(cell: Mapping[str, Any], run: Run) -> bool:
    """Whether a printed number of updates is ours but for the paper's network, and one lambda's fine-tuning for all.

    A fine-tuning's number is judged by what it adds to its hypernetwork's.
    """
    own, start = run.metrics.iloc[0], METHODS[cell["method"]].start
    counts = printed.tables().query("quantity == 'updates'").set_index("method")["value"]
    if start:
        return bool(np.isclose(cell["value"] - counts[start], EXTRA * own["updates"], rtol=ROUNDING))
    whole = own["updates_shared"] + len(printed.LAMBDAS) * own["updates"]
    return bool(np.isclose(cell["value"], EXTRA * whole, rtol=ROUNDING))


def _by_seed(run: Run, quantity: str, lam: float) -> np.ndarray:
    """The quantity's value for each seed; without lambda, the updates for the paper's four lambdas together."""
    metrics = run.metrics[run.metrics["lam"].isin(printed.LAMBDAS)]
    values = total_updates(metrics) if np.isnan(lam) else metrics[metrics["lam"] == lam][quantity]
    return values.to_numpy(dtype=float)


def total_updates(metrics: pd.DataFrame) -> pd.Series:
    """Updates for all lambdas of the rows, by seed: those of each lambda's own training, and what they share."""
    seeds = metrics.groupby("seed")
    return seeds["updates"].sum() + seeds["updates_shared"].max()


def removable(curves: pd.DataFrame, loss: float) -> pd.Series:
    """Percent of weights that can go before more than `loss` is lost, by lambda; curves: lambda × percent, from 0."""
    # until the first fall below the bound
    kept = curves.ge(curves[0] - loss - ROUNDING, axis="index").cummin(axis="columns")
    return kept.mul(curves.columns, axis="columns").max(axis="columns")


def _summary(ours: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and the mean's 95% interval by Student's t, over seeds."""
    seeds = len(ours)
    mean, sd = ours.mean() if seeds else np.nan, ours.std(ddof=1) if seeds > 1 else np.nan
    half = interval(ours)
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half, "seeds": seeds}
