"""What a method costs, against the number of complexity levels: the page's lines, table and words."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from ccbook.book import artefacts
from ccbook.book.formats import folder, marks, write_csv
from ccbook.book.plots import MARKERS, look
from ccbook.chapters import METHODS
from ccbook.records.run import Run

LEVELS = 12  # of complexity, to show the price of
UNITS = {"updates": "updates", "seconds": "seconds of one core"}


def prices(profile: str, runs: Mapping[str, Run]) -> pd.DataFrame:
    """The prices, as of of_runs(); write cost.csv."""
    priced = of_runs(runs)
    write_csv(priced.reset_index(), folder(profile) / "cost.csv")
    return priced


def of_runs(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What a method costs for one seed, once and for each lambda.

    Returns: rows by method; updates_once, updates_each, seconds_once, seconds_each (of one core), and break_even and
        break_even_seconds, the number of lambdas from which the method takes fewer updates or seconds than (a).
    """
    rows: dict[str | None, dict[str, float]] = {}
    for letter, run in runs.items():
        seconds, chapter = run.receipt["seconds"] * run.receipt["cores"], METHODS[letter]
        once = rows[chapter.start]["seconds_once"] if chapter.start in rows else 0.0  # a fine-tuning's hypernetwork
        rows[letter] = {
            "updates_once": run.metrics["updates_shared"].max(),
            "updates_each": run.metrics["updates"].max(),
            "seconds_once": seconds / run.metrics["seed"].nunique() if chapter.is_hypernetwork else once,
            "seconds_each": 0.0 if chapter.is_hypernetwork else seconds / len(run.metrics),
        }
    priced = pd.DataFrame(rows).T.rename_axis("method")
    priced["break_even"] = break_even(priced, "updates")
    priced["break_even_seconds"] = break_even(priced, "seconds")
    return priced


def break_even(priced: pd.DataFrame, unit: str, rival: str = "a") -> pd.Series:
    """The number of lambdas from which each method costs less than a rival that costs nothing once; NaN for never."""
    saved = priced.loc[rival, f"{unit}_each"] - priced[f"{unit}_each"]
    return np.floor(priced[f"{unit}_once"] / saved.where(saved > 0)) + 1


def lines(priced: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """Updates, and seconds of one core, for 1 ... LEVELS complexity levels by each method."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    levels, words = np.arange(1, LEVELS + 1), []
    for k, (letter, row) in enumerate(priced.iterrows()):
        totals = {unit: row[f"{unit}_once"] + levels * row[f"{unit}_each"] for unit in UNITS}
        shown = look(str(letter))
        for ax, total in zip(axes, totals.values(), strict=True):
            ax.plot(levels, total, "-" if shown["solid"] else "--", marker=MARKERS[k % len(MARKERS)],
                    color=shown["colour"], label=shown["title"])  # fmt: skip
        words.append(f"({letter}) {totals['updates'][-1]:.3g} updates and {totals['seconds'][-1]:.3g} seconds")
    for ax, unit in zip(axes, UNITS.values(), strict=True):
        ax.set(xlabel="complexity levels wanted", ylabel=unit, ylim=(0, None))
    axes[0].legend(fontsize="small")
    figure.suptitle(marks(runs.values()), color="firebrick", fontsize="medium")
    caption = f"The price of 1 to {LEVELS} complexity levels: updates on the left, seconds of one core on the right."
    alt = f"Price against the number of complexity levels, a line for each method. At {LEVELS} levels: "
    alt += "; ".join(words) + "."
    return artefacts.figure("cost-lines", figure, caption, alt, priced.reset_index(), runs.values())
