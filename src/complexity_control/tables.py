"""Tables and sentences of a page, all computed from runs."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from complexity_control import reported
from complexity_control.runs import Run
from complexity_control.training import steps
from complexity_control.verdicts import removable

SIGNS = {"agrees": "✓", "close": "≈", "differs": "✗", "not tested": "–"}
LOSS = 0.02  # of accuracy: a small one
LEVELS = 12  # of complexity, to ask the price of
CLAIM_SIGNS = {"holds": "✓", "holds in part": "≈", "does not hold": "✗", "not tested": "–"}
CLAIM_COLOURS = {"holds": "agrees", "holds in part": "close", "does not hold": "differs", "not tested": "not tested"}
BACKGROUNDS = {
    "agrees": "background-color: #d7eef4; color: black",
    "close": "background-color: #fdf0c8; color: black",
    "differs": "background-color: #f8d9c4; color: black",
    "not tested": "",
}
TITLES = {
    "accuracy": "accuracy",
    "accuracy_curve_mean": "accuracy, mean of 0–90% removed",
    "stability": "stability",
    "log_likelihood": "log-likelihood, nats",
    "kl": "KL, nats",
    "evidence": "evidence, nats",
    "updates": "updates",
}
# a hypernetwork's updates serve all its lambdas together, and stand in a column of their own
COLUMNS = TITLES | {"updates_shared": "updates shared by all λ"}


def mark(run: Run) -> str:
    """What a reader of a quick run's numbers must know; empty for a run at the paper's scale."""
    if run.parameters.profile == "paper":
        return ""
    p, digits = run.parameters, run.receipt["data"]["train"]
    return f"Profile {p.profile}, for a look only: {digits:,} digits, {count(len(p.seeds), 'seed')}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def note(run: Run) -> Markdown:
    """Where the page's numbers come from."""
    p, receipt = run.parameters, run.receipt
    made = (
        f"Run `{run.id}`: {count(len(p.lambdas) * len(p.seeds), 'model')}, {p.dataset}, "
        f"{receipt['data']['train']:,} training and {receipt['data']['test']:,} test digits, "
        f"{count(p.epochs, 'epoch')}; made in {receipt['seconds']:,.0f} s on {count(receipt['cores'], 'core')} "
        f"({receipt['processor']})."
    )
    return Markdown(f"**{mark(run)}.** {made}" if mark(run) else made)


def sources(runs: Mapping[str, Run]) -> Markdown:
    """The runs that a page stands on, in one paragraph."""
    marks = "".join({f"**{mark(run)}.** " for run in runs.values() if mark(run)})
    return Markdown(f"{marks}From the runs {', '.join(f'`{run.id}`' for run in runs.values())}.")


def table(run: Run) -> pd.DataFrame:
    """Mean ± standard deviation over seeds of every metric, a row for each lambda."""
    grouped = run.metrics.groupby("lam")
    columns = {
        title: [spread(name, mean, sd) for mean, sd in zip(grouped[name].mean(), grouped[name].std(), strict=True)]
        for name, title in COLUMNS.items()
        if run.metrics[name].any()
    }
    return pd.DataFrame(columns, index=pd.Index([f"{lam:g}" for lam in grouped.groups], name="λ"))


def spread(quantity: str, mean: float, sd: float = np.nan) -> str:
    """A mean with its standard deviation, with the digits that its quantity deserves."""
    if np.isnan(mean):
        return "–"
    digits = {"accuracy": 3, "accuracy_curve_mean": 3, "stability": 2}.get(quantity, 0)
    spread = f" ± {sd:,.{digits}f}" if sd > 0 else ""
    return f"{mean:,.{digits}f}{spread}".replace("-", "−")


def seen(run: Run) -> Markdown:
    """What the numbers show, in words: the accuracy at each lambda, and how much can be removed for a small loss."""
    mean = run.curves.pivot_table(values="accuracy", index="lam", columns="pruned_percent")
    lambdas = _listed(f"{lam:g}" for lam in mean.index)
    text = (
        f"At λ = {lambdas} the whole network recognises {_listed(f'{a:.1%}' for a in mean[0])} of the test digits. "
        f"{_listed(f'{r}%' for r in removable(mean, LOSS))} of the weights can be removed before more than "
        f"{100 * LOSS:.0f} points of accuracy are lost; with {mean.columns[-1]}% removed, "
        f"{_listed(f'{a:.1%}' for a in mean.iloc[:, -1])} remain."
    )
    return Markdown(text)


def _listed(parts: Iterable[str]) -> str:
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last


def anchor(cell: Mapping[Any, Any]) -> str:
    """Where a cell stands on the results page."""
    lam = "" if np.isnan(cell["lam"]) else f"-{cell['lam']:g}".replace(".", "_")
    return f"cell-{cell['quantity']}-{cell['method']}{lam}"


def every(cells: pd.DataFrame) -> Styler:
    """All cells, one a row: paper, ours with its 95% interval over seeds, difference, verdict and run."""
    shown = cells.drop(columns="seeds").astype({"lam": str}).replace({"lam": {"nan": "all"}})
    formats = dict.fromkeys(("paper", "mean", "sd", "low", "high", "difference"), "{:,.5g}")
    styled = shown.style.format(formats, na_rep="–").hide(axis="index")
    return styled.apply(lambda row: [BACKGROUNDS[row["verdict"]] if c == "verdict" else "" for c in row.index], axis=1)


def claims(judged: pd.DataFrame) -> Styler:
    """The claims, one a row, with the numbers that decide."""
    shown = judged.assign(
        claim=[f'<span id="claim-{n}">{c}</span>' for n, c in zip(judged.name, judged.claim, strict=True)]
    )
    shown = shown.assign(verdict=[f"{CLAIM_SIGNS[v]} {v}" for v in judged["verdict"]]).drop(columns=["name", "run"])
    colour: dict[Any, str] = {f"{CLAIM_SIGNS[v]} {v}": BACKGROUNDS[like] for v, like in CLAIM_COLOURS.items()}
    styled = shown.style.hide(axis="index").set_properties(
        **{"text-align": "left", "vertical-align": "top", "padding": "0.5em 0.7em"}
    )
    return styled.apply(lambda row: [colour[row["verdict"]] if c == "verdict" else "" for c in row.index], axis=1)


def scoreboard(cells: pd.DataFrame, judged: pd.DataFrame) -> str:
    """How much of the paper holds, in Markdown: the counts, and a link to each cell and claim that doesn't agree."""
    lines = ["| | " + " | ".join(f"{SIGNS[v]} {v}" for v in SIGNS) + " |", "|---" * (len(SIGNS) + 1) + "|"]
    for (table, quantity), group in cells.groupby(["table", "quantity"]):
        counts = group["verdict"].value_counts()
        title = TITLES[quantity].removesuffix(", nats")
        lines.append(f"| Table {table}, {title} | " + " | ".join(str(counts.get(v, 0)) for v in SIGNS) + " |")
    counts = judged["verdict"].value_counts()
    lines += ["", "| | " + " | ".join(f"{CLAIM_SIGNS[v]} {v}" for v in CLAIM_SIGNS) + " |"]
    lines += ["|---" * (len(CLAIM_SIGNS) + 1) + "|"]
    lines += ["| claims of the text | " + " | ".join(str(counts.get(v, 0)) for v in CLAIM_SIGNS) + " |", ""]
    differing = cells[cells["verdict"].isin(["close", "differs"])].to_dict("records")
    items = [
        f'<li><a href="results.html#{anchor(c)}">{SIGNS[c["verdict"]]} Table {c["table"]}, {TITLES[c["quantity"]]}, '
        f"({c['method']}){'' if np.isnan(c['lam']) else _at(c['lam'])}</a></li>"
        for c in differing
    ]
    failing = judged[judged["verdict"].isin(["holds in part", "does not hold"])]
    items += [
        f'<li><a href="claims.html#claim-{c["name"]}">{CLAIM_SIGNS[c["verdict"]]} {c["claim"]}</a></li>'
        for c in failing.to_dict("records")
    ]
    if items:
        lines += [f"<details><summary>Each cell and claim that doesn't agree ({len(items)})</summary>"]
        lines += ["<ul>", *items, "</ul></details>"]
    return "\n".join(lines) + "\n"


def _at(lam: float) -> str:
    return f", λ = {lam:g}"


def compared(cells: pd.DataFrame, table: int, quantity: str) -> Styler:
    """A table of the paper: ours, mean ± sd over seeds, above what was printed, with the verdict's sign."""
    rows = cells[(cells["table"] == table) & (cells["quantity"] == quantity)]
    text: dict[str, dict[str, str]] = {}
    colour: dict[str, dict[str, str]] = {}
    for cell in rows.to_dict("records"):
        method = f"({cell['method']}) {reported.METHODS[cell['method']]}"
        lam = "all λ" if np.isnan(cell["lam"]) else f"λ = {cell['lam']:g}"
        ours = f"{spread(quantity, cell['mean'], cell['sd'])} {SIGNS[cell['verdict']]}"
        text.setdefault(lam, {})[method] = (
            f'<span id="{anchor(cell)}">{ours}</span><br><small>paper {spread(quantity, cell["paper"])}</small>'
        )
        colour.setdefault(lam, {})[method] = BACKGROUNDS[cell["verdict"]]
    # one line each for ours and for the paper's, whatever the width of the page
    layout: dict[str, Any] = {"white-space": "nowrap", "padding": "0.4em 0.8em", "text-align": "right"}
    return pd.DataFrame(text).style.apply(lambda _: pd.DataFrame(colour), axis=None).set_properties(**layout)


def price(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What a method costs: once, whatever the number of lambdas, and for each lambda; for one seed.

    Returns: rows by method; updates_once, updates_each, seconds_once, seconds_each (of one core), and break_even, the
    number of lambdas from which the method takes fewer updates than (a).
    """
    rows = {}
    for method, run in runs.items():
        models = len(run.metrics)
        seeds = run.metrics["seed"].nunique()
        seconds = run.receipt["seconds"] * run.receipt["cores"]
        once, each = run.metrics["updates_shared"].max(), run.metrics["updates"].max()
        spent_once = method in "ce"
        rows[method] = {
            "updates_once": once,
            "updates_each": each,
            "seconds_once": seconds / seeds if spent_once else 0.0,
            "seconds_each": 0.0 if spent_once else seconds / models,
        }
    for tuned, start in reported.STARTS.items():
        if {tuned, start} <= set(rows):
            rows[tuned]["seconds_once"] = rows[start]["seconds_once"]
    prices = pd.DataFrame(rows).T
    saved = prices.loc["a", "updates_each"] - prices["updates_each"]
    prices["break_even"] = np.floor(prices["updates_once"] / saved.where(saved > 0)) + 1
    return prices


def distances(study: pd.DataFrame) -> Styler:
    """The audit's trials, one a row."""
    to = {"table3": "to Table 3", "table1": "to Table 1", "table1_curve": "to Table 1, as a mean"}
    shown = study[["method", "trial", *to, "outcome", "seeds", "run"]].rename(columns=to)
    numbers = dict.fromkeys(to.values(), "{:.3f}") | {"seeds": "{:.0f}"}
    return shown.style.format(numbers, na_rep="–").hide(axis="index")


def readings(read: pd.DataFrame) -> pd.DataFrame:
    """Root mean square difference from the paper under each reading, for each method and for all."""
    squares = read.assign(square=(read["ours"] - read["paper"]) ** 2)
    by_method = squares.groupby(["quantity", "reading", "method"])["square"].mean().unstack()
    return (by_method.assign(all=squares.groupby(["quantity", "reading"])["square"].mean()) ** 0.5).round(3)


def updates_apart(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Table 1's number of updates, divided by the paper's 25 epochs, four lambdas, and minibatches of 128 digits."""
    printed = reported.tables()
    counts = printed[printed["quantity"] == "updates"].set_index("method")["value"].astype(int)
    epochs, lambdas, batches = 25, printed["lam"].nunique(), -(-60_000 // 128)
    apart = {
        "a": (f"÷ {epochs} epochs ÷ {lambdas} λ", counts["a"] / epochs / lambdas),
        "b": (f"÷ {lambdas} λ", counts["b"] / lambdas),
        "c": (f"÷ {epochs} epochs", counts["c"] / epochs),
        "d": ("less (c)", counts["d"] - counts["c"]),
        "e": (f"÷ {epochs} epochs", counts["e"] / epochs),
        "f": ("less (e)", counts["f"] - counts["e"]),
    }
    rows = {}
    for method, (how, each) in apart.items():
        p, digits = runs[method].parameters, runs[method].receipt["data"]["train"]
        own = runs[method].metrics["updates"].max() or runs[method].metrics["updates_shared"].max()
        rows[method] = {
            "printed": f"{counts[method]:,}",
            "taken apart": how,
            f"÷ {batches} minibatches": f"{each / batches:,.10g}",
            "our trained parameters": f"{own / steps(digits, p):,.0f}",
        }
    return pd.DataFrame(rows).T.rename_axis("method")


def surface(rows: pd.DataFrame) -> Styler:
    """The explorer's accuracy surface: a row for each method and share of removed weights, a column for each lambda."""
    names = rows["method"].map(lambda method: f"({method})")
    shown = rows.assign(method=names).pivot_table(values="accuracy", index=["method", "pruned_percent"], columns="lam")
    shown.columns = pd.Index([f"λ = {lam:.3g}" for lam in shown.columns])
    shown.index = shown.index.set_names(["method", "% removed"])
    return shown.style.format("{:.3f}")


def made(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What each run was made from and with, a row each."""
    rows = []
    for method, run in runs.items():
        receipt = run.receipt
        rows.append(
            {
                "method": f"({method}) {reported.METHODS[method]}",
                "run": run.id,
                "models": len(run.metrics),
                "digits": f"{receipt['data']['train']:,}",
                "seconds": f"{receipt['seconds']:,.0f}",
                "cores": receipt["cores"],
                "machine": receipt["processor"],
                "finished": receipt["finished"].replace("T", " ").removesuffix("+00:00") + " UTC",
                "commit": (receipt["git"]["commit"] or "unknown")[:10] + " and changes" * bool(receipt["git"]["dirty"]),
            }
        )
    return pd.DataFrame(rows).set_index("method")


def versions(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Versions of Python and of the libraries behind the numbers; several in a cell if the runs differ."""
    found: dict[str, set[str]] = {}
    for run in runs.values():
        for name, version in run.receipt["versions"].items():
            found.setdefault(name, set()).add(version)
    rows = [(name, ", ".join(sorted(versions))) for name, versions in found.items()]
    return pd.DataFrame(rows, columns=["library", "version"]).set_index("library")
