"""What to take home: sentences and small tables of advice, each number of them from the recorded runs."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from ccbook.book import artefacts, cost
from ccbook.book.formats import TITLES
from ccbook.chapters import METHODS
from ccbook.compare import cells, claims
from ccbook.compare.cells import SMALL_LOSS
from ccbook.records.run import Run
from ccbook.records.verification import interval

AGREEING = ["agrees", "explained"]
VERBS = {
    "agrees": "agree", "close": "are close", "explained": "are explained by a constant of the network",
    "differs": "differ", "holds": "hold", "holds in part": "hold in part", "does not hold": "don't hold",
    "undecided": "are undecided",
    "not tested": "are not tested",
}  # fmt: skip


def verdicts(runs: Mapping[str, Run]) -> Markdown:
    """The scoreboard in words, and the quantity of the tables in which the fewest numbers agree."""
    cell, claim = cells.judge(runs), claims.judge(runs)
    counts = [found["verdict"].value_counts().reindex(list(VERBS)).dropna() for found in (cell, claim)]
    numbers, sentences = (", ".join(f"{n:.0f} {VERBS[verdict]}" for verdict, n in found.items()) for found in counts)
    text = f"Of the paper's {len(cell)} printed numbers, {numbers}. Of its {len(claim)} claims, {sentences}."
    agreeing = cell["verdict"].isin(AGREEING).groupby(cell["quantity"]).mean()
    return Markdown(text + f" Fewest agree in {TITLES[agreeing.idxmin()]}." * bool(agreeing.any()))


def agreement(runs: Mapping[str, Run]) -> artefacts.Artefact:
    """How many of each method's numbers agree or are explained, by quantity."""
    judged = cells.judge(runs)
    groups = judged.assign(n=judged["verdict"].isin(AGREEING)).groupby(["quantity", "method"])["n"]
    counts = groups.agg(["sum", "size"]).astype(str)
    shown = counts.agg("\xa0of\xa0".join, axis=1).unstack().rename(index=TITLES, columns="({})".format)
    caption = "How many of the paper's numbers agree with ours or are explained, by method."
    return artefacts.table("conclusions-agreement", shown, caption, judged, runs.values())


def levels(priced: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """From how many lambdas each way by a hypernetwork costs less than (a); priced, as of cost.of_runs."""
    rows = priced.drop(index=["a", "b"])[["break_even", "break_even_seconds"]]
    shown = rows.set_axis(["by updates", "by seconds of one core"], axis=1).rename(lambda m: str(METHODS[m]))
    styled = shown.style.format("{:.0f}", na_rep="never")
    caption = "The number of λ from which a method costs less than direct training, (a)."
    return artefacts.table("conclusions-levels", styled, caption, rows.reset_index(), runs.values())


def rivals(priced: pd.DataFrame, runs: Mapping[str, Run]) -> Markdown:
    """Each hypernetwork's rival(), a paragraph each."""
    return Markdown("\n\n".join(rival(priced, runs, m) for m in runs if METHODS[m].is_hypernetwork))


def rival(priced: pd.DataFrame, runs: Mapping[str, Run], letter: str) -> str:
    """One epoch of direct training for each lambda against a hypernetwork, trained once: accuracy and price.

    A difference is clear if its 95% interval over the seeds doesn't contain zero; one seed has no interval.
    """
    pair = [runs[m].metrics.set_index(["lam", "seed"])["accuracy"] for m in ("b", letter)]
    direct, ours = (accuracy.groupby("lam").mean() for accuracy in pair)
    gap, half, text = direct - ours, (pair[0] - pair[1]).groupby("lam").apply(interval), ""
    clear = ~(gap.abs() <= half) & (gap != 0)
    for who, found in (("(b) is more accurate", clear & (gap > 0)), (f"({letter}) is more accurate", clear & (gap < 0)),
                       ("There is no clear difference", ~clear)):  # fmt: skip
        places = [f"λ = {lam:g} ({direct[lam]:.1%} against {ours[lam]:.1%})" for lam in found.index[found]]
        text += f"{who} at {', '.join(places)}. " if places else ""
    each, once = priced.loc["b", "seconds_each"], priced.loc[letter, "seconds_once"]
    number = cost.break_even(priced, "seconds", rival="b")[letter]
    return f"{text}(b) takes {each:.1f} seconds of one core for each λ, ({letter}) {once:.1f} seconds once, which is " \
           f"less from {number:.0f} values of λ on."  # fmt: skip


def removals(rows: pd.DataFrame) -> pd.DataFrame:
    """What can be removed from each network for at most SMALL_LOSS: method, lam, whole, percent, after.

    Args: rows, as of results.figure1_rows().
    """
    curves = rows.pivot(index=["method", "lam"], columns="pruned_percent", values="mean")
    percent = cells.removable(curves, SMALL_LOSS)
    after = [curves.loc[network, share] for network, share in percent.items()]
    return pd.DataFrame({"whole": curves[0], "percent": percent, "after": after}).reset_index()


def removal_table(rows: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The removals, for a reader."""
    found = removals(rows)
    shown = found.set_axis(["method", "λ", "whole network", "weights that can go, %", "accuracy after"], axis=1)
    words = {"method": "({})", "λ": "{:g}", "whole network": "{:.1%}", "accuracy after": "{:.1%}"}
    styled = shown.style.format(words).hide(axis="index")
    caption = f"The accuracy, and the weights that can be removed for at most {100 * SMALL_LOSS:.0f} points of it."
    return artefacts.table("conclusions-removals", styled, caption, found, runs.values())


def recommended(rows: pd.DataFrame) -> pd.Series:
    """Of the points within SMALL_LOSS of the best whole network, that with most removed, then the most accurate."""
    best = rows.loc[rows["pruned_percent"] == 0, "mean"].max()
    return rows[rows["mean"] >= best - SMALL_LOSS].sort_values(["pruned_percent", "mean"]).iloc[-1]


def recommendation(rows: pd.DataFrame) -> Markdown:
    """The recommended point of each method."""
    words = "For ({method}): λ = {lam:g} with {pruned_percent}% of the weights removed, which keeps {mean:.1%}."
    return Markdown(" ".join(words.format(**recommended(own)) for _, own in rows.groupby("method")))
