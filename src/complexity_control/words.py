"""What each picture shows, in words and numbers of its data: for whoever can't see it."""

from collections.abc import Mapping

import pandas as pd

from complexity_control import reported, tables
from complexity_control.runs import Run


def pruning(curves: pd.DataFrame) -> str:
    """The curves of figures.pruning: where each starts, and where it ends."""
    mean = curves.pivot_table(values="accuracy", index="lam", columns="pruned_percent")
    ends = mean.columns[[0, len(mean.columns) // 2, -1]]
    told = [
        f"λ = {lam:g}: " + ", ".join(f"{row[percent]:.1%} with {percent}% removed" for percent in ends)
        for lam, row in mean.iterrows()
    ]
    return f"Test accuracy against the percent of removed weights, a curve for each λ. {'; '.join(told)}."


def figure1(runs: Mapping[str, Run]) -> str:
    """The six panels of figures.figure1."""
    panels = []
    for method, run in runs.items():
        mean = run.curves.pivot_table(values="accuracy", index="lam", columns="pruned_percent")
        told = ", ".join(f"λ = {lam:g} from {row.iloc[0]:.1%} to {row.iloc[-1]:.1%}" for lam, row in mean.iterrows())
        panels.append(f"({method}) {reported.METHODS[method]}: {told}")
    percents = f"{mean.columns[0]}% to {mean.columns[-1]}%" if panels else "no"
    head = f"Test accuracy as {percents} of the weights are removed, a panel for each method, a curve for each λ."
    return f"{head} {'; '.join(panels)}."


def cost(prices: pd.DataFrame) -> str:
    """The lines of figures.cost."""
    told = []
    for method, row in prices.iterrows():
        updates = row["updates_once"] + tables.LEVELS * row["updates_each"]
        seconds = row["seconds_once"] + tables.LEVELS * row["seconds_each"]
        told.append(f"({method}) {updates:.3g} updates and {seconds:.3g} seconds")
    head = "Price against the number of complexity levels, a line for each method."
    return f"{head} At {tables.LEVELS} levels: {'; '.join(told)}."


def distances(study: pd.DataFrame) -> str:
    """The points of figures.distances."""
    told = [
        f"({row.method}) {row.trial}: {row.table3:.2f} from Table 3, "
        f"{row.table1:.2f} or {row.table1_curve:.2f} from Table 1"
        for row in study[study["table3"].notna()].itertuples()
    ]
    head = "Each trial's distance to Table 3 and, in two readings, to Table 1, a panel for each method."
    return f"{head} {'; '.join(told)}."


def readings(read: pd.DataFrame) -> str:
    """The points of figures.readings."""
    told = [f"{quantity}, {reading}: {rms:.2f}" for (quantity, reading), rms in tables.readings(read)["all"].items()]
    return (
        "Ours against the paper's, a panel for each reading, a marker for each method. "
        f"Root mean square distance from the diagonal: {'; '.join(told)}."
    )


def surface(rows: pd.DataFrame) -> str:
    """The two maps of figures.surface."""
    told = []
    for method, points in rows.groupby("method"):
        grid = points.pivot_table(values="accuracy", index="pruned_percent", columns="lam")
        first, last = grid.columns[[0, -1]]
        ends = [
            f"{grid.loc[percent, lam]:.1%} at λ = {lam:g} with {percent}% removed"
            for percent in (grid.index[0], 90, grid.index[-1])
            for lam in (first, last)
        ]
        told.append(f"({method}) {reported.METHODS[str(method)]}: {', '.join(ends)}")
    return f"Test accuracy over λ and the percent of removed weights, a map for each hypernetwork. {'; '.join(told)}."
