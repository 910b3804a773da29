"""Ours beside the paper's, cell by cell, and a computed verdict on each."""

from collections.abc import Mapping
from importlib import resources

import numpy as np
import pandas as pd
import torch
from scipy import stats

from complexity_control import pruning, reported
from complexity_control.data import Digits
from complexity_control.posterior import Posterior
from complexity_control.runs import Run

COLUMNS = ["table", "quantity", "method", "lam", "paper"]
COLUMNS += ["mean", "sd", "low", "high", "difference", "seeds", "run", "verdict"]
# Table 1's accuracies can be read as the whole network's, or as averages over Figure 1's pruning levels
READINGS = {"accuracy": ["accuracy", "accuracy_curve_mean"]}


def tolerances() -> pd.DataFrame:
    """Rows of tolerance, kind (absolute or relative) and the reason for it, by quantity."""
    with resources.files("complexity_control").joinpath("tolerances.csv").open() as file:
        return pd.read_csv(file, index_col="quantity")


def verdict(quantity: str, paper: float, ours: float) -> str:
    """agrees within the tolerance, close within twice the tolerance, or differs; not tested without a number."""
    if np.isnan(ours):
        return "not tested"
    tolerance = tolerances().loc[quantity]
    bound = tolerance["tolerance"] * (abs(paper) if tolerance["kind"] == "relative" else 1)
    difference = abs(ours - paper)
    return "agrees" if difference <= bound else "close" if difference <= 2 * bound else "differs"


def cells(runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row for each printed value and reading of it.

    Args: runs, by the paper's letter of the method; one that is not there yields rows without our numbers.
    Returns: the columns COLUMNS; mean, sd and the 95% interval low ... high of the mean are over seeds.
    """
    rows = []
    for printed in reported.tables().to_dict("records"):
        run = runs.get(printed["method"])
        for quantity in READINGS.get(printed["quantity"], [printed["quantity"]]):
            ours = _seeds(run, quantity, printed["lam"]) if run else np.array([])
            row = printed | {"quantity": quantity, "paper": printed["value"], "run": run.id if run else ""}
            row |= _summary(ours) | {"verdict": _judged(run, quantity, printed["value"], ours)}
            rows.append(row | {"difference": row["mean"] - row["paper"]})
    return pd.DataFrame(rows)[COLUMNS]


def _seeds(run: Run, quantity: str, lam: float) -> np.ndarray:
    """The quantity's value for each seed; one without lambda is the sum over the paper's four, and what they share."""
    metrics = run.metrics[run.metrics["lam"].isin(reported.tables()["lam"])]
    if np.isnan(lam):
        return total_updates(metrics).to_numpy(dtype=float)
    return metrics[metrics["lam"] == lam][quantity].to_numpy(dtype=float)


def total_updates(metrics: pd.DataFrame) -> pd.Series:
    """Updates for all lambdas of the rows, by seed: those of each lambda's own training, and what they share."""
    seeds = metrics.groupby("seed")
    return seeds["updates"].sum() + seeds["updates_shared"].max()


def removable(curves: pd.DataFrame, loss: float) -> pd.Series:
    """Percent of weights that can go before more accuracy than this is lost, by lambda.

    Args: curves, accuracy in rows of lambda and columns of percent removed, from 0.
    """
    kept = curves.ge(curves[0] - loss, axis="index").cummin(axis="columns")  # until the first fall below the bound
    return kept.mul(curves.columns, axis="columns").max(axis="columns")


def _summary(ours: np.ndarray) -> dict[str, float]:
    if len(ours) == 0:
        return {"mean": np.nan, "sd": np.nan, "low": np.nan, "high": np.nan, "seeds": 0}
    mean = ours.mean()
    sd = ours.std(ddof=1) if len(ours) > 1 else np.nan
    half = stats.t.ppf(0.975, len(ours) - 1) * sd / np.sqrt(len(ours)) if len(ours) > 1 else np.nan
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half, "seeds": len(ours)}


def _judged(run: Run | None, quantity: str, paper: float, ours: np.ndarray) -> str:
    # a quick run is a look at the machinery: holding it against the paper would say nothing
    if run is None or run.parameters.profile != "paper":
        return "not tested"
    return verdict(quantity, paper, ours.mean() if len(ours) else np.nan)


def distance(run: Run) -> dict[str, object]:
    """How far a run lies from the printed tables, over the paper's lambdas; means over seeds.

    Returns: table3, the root mean square of ln(ours / paper) of the evidence; table1 and table1_curve, the root mean
        square difference of the accuracy and of its mean over the pruning levels; and what the run is.
    """
    printed = reported.tables()
    printed = printed[printed["method"] == run.parameters.method].pivot_table("value", "lam", "quantity")
    ours = run.metrics.groupby("lam")[["accuracy", "accuracy_curve_mean", "evidence"]].mean().reindex(printed.index)
    return {
        "method": run.parameters.method,
        "table3": _rms(np.log(ours["evidence"] / printed["evidence"])),
        "table1": _rms(ours["accuracy"] - printed["accuracy"]),
        "table1_curve": _rms(ours["accuracy_curve_mean"] - printed["accuracy"]),
        "outcome": "trained",
        "seeds": run.metrics["seed"].nunique(),
        "run": run.id,
    }


def _rms(differences: pd.Series) -> float:
    return float(np.sqrt((differences**2).mean()))


FINE = range(5, 101, 5)  # percent removed; with 0, which is on record, 21 levels


@torch.no_grad()
def fine_curves(run: Run, digits: Digits) -> pd.DataFrame:
    """Accuracy of a recorded posterior at levels of 5%: rows of method, lam, seed, pruned_percent, accuracy."""
    models = run.metrics[["method", "lam", "seed"]]
    q = Posterior(*({n: t.to(digits.test_labels.device) for n, t in part.items()} for part in run.posterior))
    parts = [models.assign(pruned_percent=0, accuracy=run.metrics["accuracy"])]
    for percent in FINE:
        correct = pruning.accuracy(pruning.prune(q, percent), digits.test_images, digits.test_labels)
        parts.append(models.assign(pruned_percent=percent, accuracy=correct.cpu().numpy()))
    return pd.concat(parts, ignore_index=True)


def readings(fine: pd.DataFrame) -> pd.DataFrame:
    """Tables 1 and 2 under each reading: rows of quantity, reading, method, lam, paper, ours (mean over seeds)."""
    curves = fine.pivot_table("accuracy", ["method", "lam", "seed"], "pruned_percent")
    coarse = list(range(0, 100, 10))
    ways = {
        ("accuracy", "whole network"): curves[0],
        ("accuracy", "mean of 0, 10, …, 90% removed"): curves[coarse].mean(axis="columns"),
        ("accuracy", "mean of 0, 5, …, 100% removed"): curves.mean(axis="columns"),
        ("stability", "whole / 90% removed"): curves[0] / curves[90],
        ("stability", "whole / 95% removed"): curves[0] / curves[95],
    }
    printed = reported.tables().rename(columns={"value": "paper"})
    parts = []
    for (quantity, reading), values in ways.items():
        ours = values.groupby(["method", "lam"]).mean().rename("ours").reset_index()
        rows = printed[printed["quantity"] == quantity].merge(ours, on=["method", "lam"])
        parts.append(rows.assign(reading=reading))
    return pd.concat(parts, ignore_index=True)[["quantity", "reading", "method", "lam", "paper", "ours"]]
