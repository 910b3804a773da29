"""Figure 1 and Tables 1-3 beside the paper's, their verdicts, and the files that hold the numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from pandas.io.formats.style import Styler

from ccbook.book import artefacts, plots
from ccbook.book.formats import CLAIM_SIGNS, COLOURS, SIGNS, TITLES, folder, marks, metric, write_csv
from ccbook.chapters import METHODS
from ccbook.compare import cells, claims, printed
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
    """Figure 1's points: rows of method, lam, pruned_percent, mean, sd, low, high, seeds, run, paper (where known)."""
    curves = pd.concat(run.curves.assign(run=run.id) for run in runs.values())
    points = curves.groupby(["method", "lam", "pruned_percent"], as_index=False).agg(
        mean=("accuracy", "mean"), sd=("accuracy", "std"), low=("accuracy", "min"), high=("accuracy", "max"),
        seeds=("accuracy", "count"), run=("run", "first")
    )  # fmt: skip
    return points.merge(printed.curves().rename(columns={"value": "paper"}), how="left")


def figure1(runs: Mapping[str, Run]) -> artefacts.Artefact:
    """Figure 1, ours and the paper's: a panel for each method, three in a row as there."""
    height, words = -(-len(runs) // 3), []
    figure, axes = plt.subplots(height, 3, figsize=(9.5, 3.1 * height + 0.6), sharex=True, sharey=True,
                                layout="constrained", squeeze=False)  # fmt: skip
    figure.supylabel("test accuracy")
    for (letter, run), ax in zip(runs.items(), axes.flat, strict=False):
        plots.pruning(run.curves, ax).set(xlabel="", ylabel="", title=str(METHODS[letter]), ylim=(0.4, 1))
        plots.papers_curves(letter, ax)
        handles = ax.get_legend_handles_labels()[0]
        ax.get_legend().remove()
        mean = plots.mean_curves(run.curves)
        ends = ", ".join(f"λ = {lam:g} from {row.iloc[0]:.1%} to {row.iloc[-1]:.1%}" for lam, row in mean.iterrows())
        words.append(f"{METHODS[letter]}: {ends}")
    for ax in axes.flat[: len(runs)][-3:]:  # the lowest of each column
        ax.set_xlabel("weights removed, %", visible=True)
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[len(runs) :]:
        ax.axis("off")
    # the colours are the same in every panel
    theirs = Line2D([], [], color="0.3", linestyle=(0, (2, 1.5)))
    labels = [*map("λ = {:g}".format, mean.index), "the paper's"]
    figure.legend([*handles, theirs], labels, loc="outside lower center", ncols=len(labels))
    if said := marks(runs.values()):
        figure.suptitle(said, color="firebrick")
    caption = "Accuracy as weights are removed: ours, the mean and the range over the seeds, and the paper's, dashed."
    alt = f"Test accuracy as {mean.columns[0]}% to {mean.columns[-1]}% of the weights are removed, "
    alt += f"a panel for each method, a curve for each λ, the paper's dashed. Ours: {'; '.join(words)}."
    return artefacts.figure("results-figure1", figure, caption, alt, figure1_rows(runs), runs.values())


def figure1_difference(runs: Mapping[str, Run]) -> Markdown:
    """What differs between our curves and the paper's, in a sentence made from the numbers."""
    rows = figure1_rows(runs).dropna(subset="paper").assign(gap=lambda r: r["mean"] - r["paper"])
    whole = rows[(rows["pruned_percent"] == 0) & (rows["lam"] <= 10)]["gap"]
    groups = rows.groupby("pruned_percent")["gap"]
    mean, rms = groups.mean(), groups.apply(lambda gap: (gap**2).mean() ** 0.5)
    worst = rms.idxmax()
    return Markdown(
        f"Over the {len(rows)} points that could be read off the paper's figure, ours and the paper's differ by "
        f"{(rows['gap'] ** 2).mean() ** 0.5:.3f} (root mean square). Whole networks at λ ≤ 10 differ by at most "
        f"{whole.abs().max():.3f}. The curves are furthest apart at {worst}% removed, where ours lie "
        f"{abs(mean[worst]):.3f} {'above' if mean[worst] > 0 else 'below'} the paper's on average, and "
        f"{rms[worst]:.3f} by root mean square."
    )


def table(judged: pd.DataFrame, quantity: str, caption: str, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """A table of the paper, as compared()."""
    name, rows = quantity.removesuffix("_mean").replace("_", "-"), judged[judged["quantity"] == quantity]
    return artefacts.table(f"results-{name}", compared(rows), caption, rows, runs.values())


def whole_networks(runs: Mapping[str, Run]) -> artefacts.Artefact:
    """Accuracy of the whole network: ours, mean ± sd over seeds, and the start of the paper's curve, where known."""
    rows = figure1_rows(runs).query("pruned_percent == 0 and lam in @printed.LAMBDAS")
    text = [metric("accuracy", row["mean"], row["sd"])
            + ("" if np.isnan(row["paper"]) else f"<br><small>paper {metric('accuracy', row['paper'])}</small>")
            for row in rows.to_dict("records")]  # fmt: skip
    shown = rows.assign(text=text, method=rows["method"].map(lambda letter: str(METHODS[letter])))
    styled = shown.assign(lam=rows["lam"].map("λ = {:g}".format)).pivot(index="method", columns="lam", values="text")
    caption = "Accuracy of the whole network: ours, and the start of the paper's curve in Figure 1."
    return artefacts.table("results-whole", styled.rename_axis(None).rename_axis(None, axis=1).style, caption, rows,
                           runs.values())  # fmt: skip


def compared(judged: pd.DataFrame) -> Styler:
    """The cells of one quantity: ours, mean ± sd over seeds, above what was printed, with the verdict's sign."""
    text: dict[str, dict[str, str]] = {}
    for cell in judged.to_dict("records"):
        ours, paper = metric(cell["quantity"], cell["mean"], cell["sd"]), metric(cell["quantity"], cell["paper"])
        shown = f"{ours} {SIGNS[cell['verdict']]}</span><br> <small>paper {paper}</small>"
        column = text.setdefault("all λ" if np.isnan(cell["lam"]) else f"λ = {cell['lam']:g}", {})
        column[str(METHODS[cell["method"]])] = f'<span id="{anchor(cell)}">{shown}'
    # one line each for ours and for the paper's, whatever the width of the page
    layout: dict[str, Any] = {"white-space": "nowrap", "padding": "0.2em 0.7em", "text-align": "right"}
    styled = pd.DataFrame(text).style.map(lambda cell: COLOURS[cell.partition("</span>")[0][-1]])  # by the sign
    return styled.set_properties(**layout)


def every_cell(judged: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """All printed values in one table, ours with the interval and the run."""
    rows = judged.to_dict("records")

    def column(*names: str) -> list[str]:
        return [" … ".join(metric(row["quantity"], row[name]) for name in names) for row in rows]

    shown = pd.DataFrame(
        {"table": judged["table"], "quantity": judged["quantity"].map(TITLES), "method": judged["method"],
         "λ": judged["lam"].map("{:g}".format).replace("nan", "all"), "paper": column("paper"), "ours": column("mean"),
         "95% interval": column("low", "high"), "difference": column("difference"),
         "verdict": judged["verdict"].map(lambda verdict: f"{SIGNS[verdict]} {verdict}"), "run": judged["run"]}
    )  # fmt: skip
    caption = "Every printed value, ours with its interval over the seeds, and the run."
    return artefacts.table("results-cells", shown.style.hide(axis="index"), caption, judged, runs.values())


def anchor(cell: Mapping[str, Any]) -> str:
    """Where a cell stands on the results page."""
    lam = "" if np.isnan(cell["lam"]) else f"-{cell['lam']:g}".replace(".", "_")
    return f"cell-{cell['quantity']}-{cell['method']}{lam}"


def former_scoreboard(runs: Mapping[str, Run]) -> Markdown:
    """The counts of verdicts under the rules before they changed."""
    return Markdown("\n".join(_table_counts(cells.judge(runs, former=True))))


def _table_counts(judged: pd.DataFrame) -> list[str]:
    return _counts({f"Table {number}, {TITLES[quantity].removesuffix(', nats')}": group["verdict"]
                    for (number, quantity), group in judged.groupby(["table", "quantity"])}, SIGNS)  # fmt: skip


def scoreboard(judged: pd.DataFrame, judged_claims: pd.DataFrame) -> str:
    """How much of the paper holds, in Markdown: the counts, and a link to each cell and claim that doesn't agree."""
    lines = [*_table_counts(judged), "", *_counts({"claims of the text": judged_claims["verdict"]}, CLAIM_SIGNS), ""]
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
    agreeing = ["agrees", "holds", "not tested"]
    return judged[~judged["verdict"].isin(agreeing)].to_dict("records")


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
