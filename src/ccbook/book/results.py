"""Figure 1, Tables 1-3 and the claims beside the paper's, their verdicts, and the files that hold the numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from pandas.io.formats.style import Styler

from ccbook.book import artefacts, plots
from ccbook.book.formats import CLAIM_SIGNS, COLOURS, SIGNS, TITLES, folder, mark, metric, write_csv
from ccbook.chapters import METHODS
from ccbook.compare import cells, claims
from ccbook.records.run import Run


def write(profile: str, runs: Mapping[str, Run]) -> pd.DataFrame:
    """Write table1.csv ... table3.csv, figure1.csv and figure1.svg, and scoreboard.md, which the start page includes.

    Returns: the cells, as of cells.judge.
    """
    judged = cells.judge(runs)
    for number, rows in judged.groupby("table"):
        write_csv(rows, folder(profile) / f"table{number}.csv")
    write_csv(figure1_rows(runs), folder(profile) / "figure1.csv")
    (folder(profile) / "figure1.svg").write_text(figure1(runs).plain["image/svg+xml"])
    (folder(profile) / "scoreboard.md").write_text(scoreboard(judged, claims.judge(runs)))
    return judged


def figure1_rows(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Figure 1's points: rows of method, lam, pruned_percent, mean, sd, seeds, run."""
    curves = pd.concat(run.curves.assign(run=run.id) for run in runs.values())
    return curves.groupby(["method", "lam", "pruned_percent"], as_index=False).agg(
        mean=("accuracy", "mean"), sd=("accuracy", "std"), seeds=("accuracy", "count"), run=("run", "first")
    )


def figure1(runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The paper's Figure 1, computed: a panel for each method, two in a row."""
    height, words = -(-len(runs) // 2), []
    figure, axes = plt.subplots(height, 2, figsize=(8.5, 10 / 3 * height), sharex=True, sharey=True,
                                layout="constrained", squeeze=False)  # fmt: skip
    figure.supylabel("test accuracy")
    for (letter, run), ax in zip(runs.items(), axes.flat, strict=False):
        plots.pruning(run.curves, ax).set(xlabel="", ylabel="", title=str(METHODS[letter]))
        handles = ax.get_legend_handles_labels()[0]
        ax.get_legend().remove()
        mean = plots.mean_curves(run.curves)
        ends = ", ".join(f"λ = {lam:g} from {row.iloc[0]:.1%} to {row.iloc[-1]:.1%}" for lam, row in mean.iterrows())
        words.append(f"{METHODS[letter]}: {ends}")
    for ax in axes.flat[: len(runs)][-2:]:  # the lowest of each column
        ax.set_xlabel("weights removed, %", visible=True)
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[len(runs) :]:
        ax.axis("off")
    # the colours are the same in every panel
    figure.legend(handles, map("{:g}".format, mean.index), title="λ", loc="outside lower center", ncols=len(mean))
    for text in {mark(run) for run in runs.values()} - {""}:
        figure.suptitle(text, color="firebrick")
    caption = "The paper's Figure 1, computed: accuracy against percent of weights removed, a panel for each method."
    alt = f"Test accuracy as {mean.columns[0]}% to {mean.columns[-1]}% of the weights are removed, "
    alt += f"a panel for each method, a curve for each λ. {'; '.join(words)}."
    return artefacts.figure("results-figure1", figure, caption, alt, figure1_rows(runs), runs.values())


def table(judged: pd.DataFrame, quantity: str, caption: str, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """A table of the paper, as compared()."""
    name, rows = quantity.removesuffix("_mean").replace("_", "-"), judged[judged["quantity"] == quantity]
    return artefacts.table(f"results-{name}", compared(rows), caption, rows, runs.values())


def compared(judged: pd.DataFrame) -> Styler:
    """The cells of one quantity: ours, mean ± sd over seeds, above what was printed, with the verdict's sign."""
    text: dict[str, dict[str, str]] = {}
    for cell in judged.to_dict("records"):
        ours, paper = metric(cell["quantity"], cell["mean"], cell["sd"]), metric(cell["quantity"], cell["paper"])
        shown = f"{ours} {SIGNS[cell['verdict']]}</span><br><small>paper {paper}</small>"
        column = text.setdefault("all λ" if np.isnan(cell["lam"]) else f"λ = {cell['lam']:g}", {})
        column[str(METHODS[cell["method"]])] = f'<span id="{anchor(cell)}">{shown}'
    # one line each for ours and for the paper's, whatever the width of the page
    layout: dict[str, Any] = {"white-space": "nowrap", "padding": "0.4em 0.8em", "text-align": "right"}
    styled = pd.DataFrame(text).style.map(lambda cell: COLOURS[cell.partition("</span>")[0][-1]])  # by the sign
    return styled.set_properties(**layout)


def anchor(cell: Mapping[str, Any]) -> str:
    """Where a cell stands on the results page."""
    lam = "" if np.isnan(cell["lam"]) else f"-{cell['lam']:g}".replace(".", "_")
    return f"cell-{cell['quantity']}-{cell['method']}{lam}"


def all_cells(judged: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """All cells, one a row: paper, ours with its 95% interval over seeds, difference, verdict and run."""
    shown = judged.drop(columns="seeds").astype({"lam": str}).replace({"lam": {"nan": "all"}})
    formats = dict.fromkeys(("paper", "mean", "sd", "low", "high", "difference"), "{:,.5g}")
    styled = shown.style.format(formats, na_rep="–").hide(axis="index")
    styled = styled.map(lambda verdict: COLOURS[SIGNS[verdict]], subset=["verdict"])
    caption = "Every printed value, ours, and the verdict."
    return artefacts.table("results-every", styled, caption, judged, runs.values())


def all_claims(profile: str, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The claims, one a row, with the numbers that decide; write claims.csv."""
    judged = claims.judge(runs)
    write_csv(judged, folder(profile) / "claims.csv")
    spans = [f'<span id="claim-{n}">{c}</span>' for n, c in zip(judged["name"], judged["claim"], strict=True)]
    signed = [f"{CLAIM_SIGNS[verdict]} {verdict}" for verdict in judged["verdict"]]
    styled = judged.assign(claim=spans, verdict=signed).drop(columns=["name", "run"]).style.hide(axis="index")
    layout: dict[str, Any] = {"text-align": "left", "vertical-align": "top", "padding": "0.5em 0.7em"}
    styled = styled.set_properties(**layout).map(lambda verdict: COLOURS[verdict[0]], subset=["verdict"])
    caption = "The paper's claims, what decides each, and the verdict."
    return artefacts.table("claims-verdicts", styled, caption, judged, runs.values())


def scoreboard(judged: pd.DataFrame, judged_claims: pd.DataFrame) -> str:
    """How much of the paper holds, in Markdown: the counts, and a link to each cell and claim that doesn't agree."""
    lines = _counts({f"Table {number}, {TITLES[quantity].removesuffix(', nats')}": group["verdict"]
                     for (number, quantity), group in judged.groupby(["table", "quantity"])}, SIGNS)  # fmt: skip
    lines += ["", *_counts({"claims of the text": judged_claims["verdict"]}, CLAIM_SIGNS), ""]
    items = []
    for c in _failing(judged):
        lam = "" if np.isnan(c["lam"]) else f", λ = {c['lam']:g}"
        place = f"Table {c['table']}, {TITLES[c['quantity']]}, ({c['method']}){lam}"
        items.append(f'<li><a href="results.html#{anchor(c)}">{SIGNS[c["verdict"]]} {place}</a></li>')
    for c in _failing(judged_claims):
        items.append(f'<li><a href="claims.html#claim-{c["name"]}">{CLAIM_SIGNS[c["verdict"]]} {c["claim"]}</a></li>')
    if items:
        lines += [f"<details><summary>Each cell and claim that doesn't agree ({len(items)})</summary>"]
        lines += ["<ul>", *items, "</ul></details>"]
    return "\n".join(lines) + "\n"


def _failing(judged: pd.DataFrame) -> list[dict[str, Any]]:
    return judged[judged["verdict"].isin(["close", "differs", "holds in part", "does not hold"])].to_dict("records")


def _counts(verdicts: Mapping[str, pd.Series], signs: Mapping[str, str]) -> list[str]:
    """A Markdown table: for each title, how many of its verdicts are of each kind."""
    lines = ["| | " + " | ".join(f"{sign} {verdict}" for verdict, sign in signs.items()) + " |"]
    lines += ["|---" * (len(signs) + 1) + "|"]
    for title, of_title in verdicts.items():
        lines += [f"| {title} | " + " | ".join(str((of_title == verdict).sum()) for verdict in signs) + " |"]
    return lines


def report(runs: Mapping[str, Run]) -> str:
    """How much of the paper holds, for a terminal: the counts, and each cell and claim that doesn't agree."""
    judged, judged_claims = cells.judge(runs), claims.judge(runs)
    counts = judged.groupby(["table", "quantity"])["verdict"].value_counts().unstack(fill_value=0)
    lines = [counts.reindex(columns=list(SIGNS), fill_value=0).to_string()]
    for c in _failing(judged):
        place = f"Table {c['table']}, {c['quantity']} of ({c['method']})"
        lam = "" if np.isnan(c["lam"]) else f" at lambda {c['lam']:g}"
        numbers = f"ours {c['mean']:,.6g}, paper {c['paper']:,.6g}, {c['verdict']} ({c['run']})"
        lines.append(f"{SIGNS[c['verdict']]} {place}{lam}: {numbers}")
    totals = judged_claims["verdict"].value_counts().reindex(list(CLAIM_SIGNS), fill_value=0)
    lines.append("\nclaims: " + ", ".join(f"{number} {verdict}" for verdict, number in totals.items()))
    for c in _failing(judged_claims):
        lines.append(f"{CLAIM_SIGNS[c['verdict']]} {c['claim']}: {c['value']}")
    return "\n".join(lines)
