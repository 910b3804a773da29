"""The files that the book keeps: Tables 1-3 and Figure 1, as numbers and as a picture."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from complexity_control import artefacts, tables
from complexity_control.data import ROOT
from complexity_control.runs import Run


def folder(profile: str) -> Path:
    """book/results for the paper's numbers; another profile's stay apart."""
    return ROOT / "book" / ("" if profile == "paper" else profile) / "results"


def write(profile: str, runs: Mapping[str, Run], cells: pd.DataFrame, figure: Figure) -> None:
    """Write table1.csv ... table3.csv, figure1.csv (mean and standard deviation over seeds) and figure1.svg."""
    folder(profile).mkdir(parents=True, exist_ok=True)
    for number, table in cells.groupby("table"):
        table_csv(table, folder(profile) / f"table{number}.csv")
    table_csv(figure1_rows(runs), folder(profile) / "figure1.csv")
    figure.savefig(folder(profile) / "figure1.svg", metadata={"Date": None})


def figure1_rows(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Figure 1's points: rows of method, lam, pruned_percent, mean, sd, seeds, run."""
    points = ["method", "lam", "pruned_percent"]
    curves = [
        run.curves.groupby(points)["accuracy"].agg(["mean", "std", "count"]).assign(run=run.id) for run in runs.values()
    ]
    return pd.concat(curves).rename(columns={"std": "sd", "count": "seeds"}).reset_index()


def write_scoreboard(profile: str, cells: pd.DataFrame, judged: pd.DataFrame) -> None:
    """Write scoreboard.md, which the start page includes."""
    (folder(profile) / "scoreboard.md").write_text(tables.scoreboard(cells, judged))


def table_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a file of the book."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(artefacts.csv(table))
