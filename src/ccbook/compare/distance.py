"""How far a run lies from all that the paper reports of its method: Tables 1-3 and the curves of Figure 1.

Written down on 2026-11-25, before the search that is judged by it: each difference counts in tolerances of its
quantity, at most CAP of them, so that one wild cell can't decide; the four quantities count alike. Settings are chosen
by their distance at the lambdas CHOSEN_BY, and reported at the others, which had no part in the choice.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ccbook.compare import cells, printed
from ccbook.records.run import Run

CAP = 5.0  # tolerances; from there on wrong is wrong
CHOSEN_BY = (1.0, 100.0)
REPORTED_AT = (0.1, 10.0)
CLEARLY = 0.9  # a setting is clearly better at REPORTED_AT if its distance is at most this share of the book's
QUANTITIES = ("accuracy_curve_mean", "stability", "evidence", "curve")


def differences(run: Run) -> pd.DataFrame:
    """A row for each number that the paper reports of the run's method.

    Returns: method, quantity, lam, pruned_percent (of a curve), paper, ours (mean over seeds), and off, in tolerances.
    """
    method = run.parameters.method
    table = run.metrics.groupby("lam")[[*QUANTITIES[:3]]].mean().melt(ignore_index=False, var_name="quantity")
    curves = run.curves.groupby(["lam", "pruned_percent"], as_index=False)["accuracy"].mean()
    curves = curves.rename(columns={"accuracy": "value"}).assign(quantity="curve")
    ours = pd.concat([table.reset_index(), curves]).rename(columns={"value": "ours"}).assign(method=method)
    paper = pd.concat([printed.tables().assign(pruned_percent=np.nan), printed.curves().assign(quantity="curve")])
    rows = ours.merge(paper.rename(columns={"value": "paper"}), on=["method", "quantity", "lam", "pruned_percent"])
    off = [cells.tolerances_off(*cell) for cell in zip(rows["quantity"], rows["paper"], rows["ours"], strict=True)]
    return rows.assign(off=off)[["method", "quantity", "lam", "pruned_percent", "paper", "ours", "off"]]


def distance(rows: pd.DataFrame, lambdas: Iterable[float]) -> float:
    """Root mean square of the differences at these lambdas, in tolerances; 0: all as printed, 1: at the tolerance."""
    squares = rows[rows["lam"].isin(lambdas)].assign(square=lambda r: r["off"].clip(upper=CAP) ** 2)
    return float(squares.groupby("quantity")["square"].mean().mean() ** 0.5)
