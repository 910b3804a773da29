"""One network for every lambda: each hypernetwork against direct training with a tuned rate, and its own claims."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator, NullFormatter

from ccbook import perform
from ccbook.book import artefacts, cost, formats
from ccbook.book.formats import SIGNS, folder, in_words, marks, signed, write_csv
from ccbook.book.plots import MARKERS, TUNED, look, plain_ticks
from ccbook.chapters import METHODS, defaults
from ccbook.machine import download
from ccbook.machine.idx import fingerprint
from ccbook.parameters import Hypernetwork
from ccbook.records import run as records
from ccbook.records import store
from ccbook.records.run import Run
from ccbook.records.verification import interval
from complexity_control import pruning
from complexity_control.objective import evidence, kl
from complexity_control.training import Model

GRID = (10 ** np.linspace(-1, 2, 13)).round(6).tolist()  # four to a decade
OUTSIDE = [0.03, 300.0]  # where nothing was trained
LAMBDAS = [OUTSIDE[0], *GRID, OUTSIDE[1]]
# with the seeds of the chapters: a mean of two is uncertain by up to 1%, and NEAR is 5%
REFERENCE: dict[str, Any] = {"lambdas": LAMBDAS, "learning_rate": 0.004, "schedule": "cosine"}
NEAR = 0.05  # by so much the evidence may be worse than the tuned direct training's
TUNED_ROWS = "tuned.csv"  # what of_each() says of the reference
REMOVED = 90  # percent, where the pruned accuracy is taken


def reference(profile: str, device: str) -> pd.DataFrame:
    """Rows as of measured(), of the tuned direct training at all LAMBDAS.

    Its 75 networks take longer than those of any chapter. So unless the run is on record here, its rows are those that
    `make studies` has recorded, if its name is the same: with other digits, science or torch it is trained.
    """
    values = defaults("a_direct") | {"profile": profile, "device": device} | REFERENCE
    p, digits, _ = store.resolve("a_direct", values)
    recorded, name = folder(profile) / TUNED_ROWS, records.name(p, fingerprint(digits))
    if not store.on_record(name) and recorded.is_file():
        rows = pd.read_csv(recorded)
        if set(rows["run"]) == {name} and len(rows) == p.models:
            return rows
    return of_each(TUNED, perform.perform("a_direct", values))


def sources(runs: Mapping[str, Run], tuned: pd.DataFrame) -> Markdown:
    """The runs that the page's numbers come from."""
    return Markdown(f"{formats.sources(runs).data} Tuned direct training is the run `{tuned['run'].iloc[0]}`.")


def measured(runs: Mapping[str, Run], tuned: pd.DataFrame) -> pd.DataFrame:
    """A row for each method, lambda and seed: evidence, kl, log_likelihood, accuracy and pruned (nats; shares); run.

    The hypernetworks are asked for every lambda; (a) has those that it was trained for.
    """
    shared = {letter: run for letter, run in runs.items() if METHODS[letter].is_hypernetwork}
    rows = [tuned, of_each("a", runs["a"])]
    return pd.concat([*rows, *(asked(letter, run, LAMBDAS) for letter, run in shared.items())], ignore_index=True)


def of_each(letter: str, run: Run) -> pd.DataFrame:
    """Rows as of measured(), of a run with a posterior for each lambda of its own."""
    pruned = run.curves.query("pruned_percent == @REMOVED").set_index(["lam", "seed"])["accuracy"].rename("pruned")
    rows = run.metrics.join(pruned, on=["lam", "seed"])
    columns = ["lam", "seed", "evidence", "kl", "log_likelihood", "accuracy", "pruned"]
    return rows[columns].assign(method=letter, run=run.id)


@torch.no_grad()
def asked(letter: str, run: Run, lambdas: Sequence[float]) -> pd.DataFrame:
    """Rows as of measured(), of a hypernetwork's run at any lambdas."""
    p, cap = run.parameters, run.parameters.cap
    assert isinstance(p, Hypernetwork)
    digits = download.load(p.dataset, "cpu", cap.train, cap.test)
    method, params, tables = perform.method_of(p), run.hypernetwork, []
    for lam in lambdas:  # the posteriors of one lambda at a time, for the memory
        q = method.posterior(params, torch.full((len(p.seeds), 1), lam))
        fits, complexity = (
            pruning.expected_log_likelihood(q, [Model(lam, seed) for seed in p.seeds], digits),
            kl(q, p.prior_std).double(),
        )
        accuracies = [
            pruning.accuracy(network, digits.test_images, digits.test_labels).tolist()
            for network in (q, pruning.prune(q, REMOVED))
        ]
        values = {"log_likelihood": fits.tolist(), "kl": complexity.tolist(),
                  "evidence": evidence(fits, complexity, torch.tensor(lam)).tolist()}  # fmt: skip
        tables.append(pd.DataFrame({"lam": lam, "seed": p.seeds, "accuracy": accuracies[0], "pruned": accuracies[1]}
                                   | values))  # fmt: skip
    return pd.concat(tables).assign(method=letter, run=run.id)


def compare(rows: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Means over the seeds against the tuned direct training; write one_network.csv.

    Args: rows, as of measured(). Returns: method, lam, evidence, sd, relative (evidence over the tuned direct
        training's, minus 1), low and high (of the seeds), kl, log_likelihood, accuracy, pruned, seeds, run.
    """
    groups = rows.groupby(["method", "lam"])
    table = groups[["evidence", "kl", "log_likelihood", "accuracy", "pruned"]].mean()
    table = table.assign(sd=groups["evidence"].std(), seeds=groups.size(), run=groups["run"].first())
    best = table.loc[TUNED, "evidence"].reindex(table.index, level="lam")
    table["relative"] = table["evidence"] / best - 1
    ends = groups["evidence"].agg(["max", "min"])  # of negative numbers: the greatest is the best
    table["low"], table["high"] = ends["max"] / best - 1, ends["min"] / best - 1
    order = ["evidence", "sd", "relative", "low", "high", "accuracy", "pruned", "kl", "log_likelihood", "seeds", "run"]
    table = table[order].reset_index()
    write_csv(table, folder(profile) / "one_network.csv")
    return table


def _name(method: str) -> str:
    return look(method)["title"]


def evidence_chart(table: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """How many times as far from zero each method's evidence lies as the tuned direct training's, against lambda."""
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    ax.axhspan(1 / (1 + NEAR), 1 + NEAR, color="tab:green", alpha=0.15, linewidth=0)
    ax.axhline(1, color=look(TUNED)["colour"], linewidth=1)
    for edge in (GRID[0], GRID[-1]):
        ax.axvline(edge, color="0.6", linestyle=":", linewidth=1)
    shown = table[table["method"] != TUNED]
    for k, (method, own) in enumerate(shown.groupby("method")):
        colour, line = look(str(method))["colour"], ":" if method == "a" else "-"
        ax.fill_between(own["lam"], 1 + own["low"], 1 + own["high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(own["lam"], 1 + own["relative"], linestyle=line, marker=MARKERS[k], color=colour,
                label=_name(str(method)))  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="λ", ylabel="−evidence, over that of tuned direct training")
    plain_ticks(ax.xaxis)
    inside = shown[shown["lam"].isin(GRID)]
    ends = 1 + inside["relative"].min(), 1 + inside["relative"].max()
    ax.set(ylim=(0.96 * min(1 / (1 + NEAR), ends[0]), 1.1 * max(1 + NEAR, ends[1])))
    ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5]))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize="small")
    ax.set_title(marks(runs.values()), color="firebrick", fontsize="medium")
    worst = inside.loc[inside.groupby("method")["relative"].idxmax()].assign(
        name=lambda rows: rows["method"].map(_name)
    )
    words = in_words(worst, "{name}: at most {relative:.0%} worse, at λ = {lam:.3g}")
    caption = (
        f"Minus the evidence of each method, over that of direct training for each λ alone, with a tuned learning rate "
        f"(the line at 1; the band is {NEAR:.0%} around it). Lower is better. Upright lines: the range that the "
        "hypernetworks were trained for. Means over the seeds, and bands from the least to the greatest."
    )
    return artefacts.figure("one_network-evidence", figure, caption, f"Relative evidence against λ. {words}", shown,
                            runs.values())  # fmt: skip


def accuracy_chart(table: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """Accuracy of the whole and of the pruned networks, against lambda."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    titles = {"accuracy": "whole networks", "pruned": f"{REMOVED}% of the weights removed"}
    for (column, title), ax in zip(titles.items(), axes, strict=True):
        for k, (method, own) in enumerate(table.groupby("method")):
            line = ":" if method == "a" else "-"
            ax.plot(own["lam"], own[column], linestyle=line, marker=MARKERS[k], color=look(str(method))["colour"],
                    label=_name(str(method)))  # fmt: skip
        for edge in (GRID[0], GRID[-1]):
            ax.axvline(edge, color="0.6", linestyle=":", linewidth=1)
        ax.set(xscale="log", xlabel="λ", title=title)
        ax.xaxis.set_major_formatter("{x:g}")
    least = table[table["lam"].isin(GRID)][[*titles]].min(axis=None)
    axes[0].set(ylabel="test accuracy", ylim=(least - 0.03, 1.01))
    axes[0].legend(fontsize="small")
    ends = table[table["lam"].isin([GRID[0], GRID[-1]])].assign(name=lambda rows: rows["method"].map(_name))
    words = in_words(ends, "{name}, λ = {lam:g}: {accuracy:.1%} whole, {pruned:.1%} pruned")
    caption = (
        "Test accuracy against λ, means over the seeds. Upright lines: the range that the hypernetworks were trained "
        "for. Points outside it that lie lower than all inside are cut off."
    )
    return artefacts.figure("one_network-accuracy", figure, caption, f"Test accuracy against λ. {words}", table,
                            runs.values())  # fmt: skip


def shown(table: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """How much worse the evidence is than the tuned direct training's: a row each lambda, a column each method."""
    relative = table.pivot(index="lam", columns="method", values="relative").drop(columns=TUNED)
    nats = table.query("method == @TUNED").set_index("lam")["evidence"]
    cells = relative.rename(columns=_name)
    cells.insert(0, "direct, tuned: nats", nats)
    styled = cells.rename(index="{:.3g}".format).rename_axis("λ").rename_axis(columns=None).style
    styled = styled.format(signed("{:+.1%}"), na_rep="–").format(signed("{:,.0f}"), subset=["direct, tuned: nats"])
    caption = "By how much the evidence is worse than that of tuned direct training at the same λ (negative: better)."
    return artefacts.table("one_network-relative", styled, caption, table, runs.values())


def _direct_trainings(priced: pd.DataFrame) -> list[float]:
    """What (g) costs once, in updates and in seconds, over one direct training."""
    return [priced.loc["g", f"{unit}_once"] / priced.loc["a", f"{unit}_each"] for unit in cost.UNITS]


def price(runs: Mapping[str, Run]) -> Markdown:
    """What (g) costs once, in direct trainings, and from how many lambdas on it pays."""
    priced = cost.of_runs(runs)
    own, shares = priced.loc["g"], _direct_trainings(priced)
    return Markdown(
        f"One training of (g) serves all λ. It takes as many updates as {shares[0]:.2f} trainings of (a), and as much "
        f"time as {shares[1]:.1f}. So it pays from {own['break_even']:.0f} values of λ on by updates, and from "
        f"{own['break_even_seconds']:.0f} on by time. Nothing is paid for another λ."
    )


def against_pairs(table: pd.DataFrame, tuned: pd.DataFrame) -> str:
    """Does the first goal hang on the seeds of tuned direct training? (g)'s worst lambda against each two of them."""
    ours = table.query("method == 'g'").set_index("lam").loc[GRID, "evidence"]
    theirs = tuned.pivot(index="lam", columns="seed", values="evidence").loc[GRID]
    worst = [(ours / theirs[[*pair]].mean(axis="columns") - 1).max() for pair in itertools.combinations(theirs, 2)]
    if not worst:
        return ""
    return (f" The measure has seeds of its own. Against the mean of any two of its {theirs.shape[1]}, (g) at its "
            f"worst λ lies {min(worst):.1%} to {max(worst):.1%} behind.")  # fmt: skip


def over_seeds(numbers: pd.Series) -> pd.DataFrame:
    """The mean over the seeds at each lambda, and half of its 95% interval, NaN for one seed."""
    each = numbers.dropna().groupby("lam")
    return pd.DataFrame({"mean": each.mean(), "half": each.agg(interval)})


def by_intervals(margins: pd.Series) -> str:
    """At how many lambdas a goal is met by the rule of the paper's claims: the whole interval is on its side.

    Args: margins, how far it is met by each lambda and seed; negative where it is missed.
    """
    found = over_seeds(margins)
    met = found["mean"] >= found["half"]
    return f"; by intervals at {met.sum()} of {len(met)}" if found["half"].notna().any() else ""


def claims(table: pd.DataFrame, rows: pd.DataFrame, runs: Mapping[str, Run], profile: str) -> artefacts.Artefact:
    """What this book says of (g), each as a test; the thresholds were written down before the runs on record.

    They also go into one_network.md, which the start page includes. Args: rows, as of measured().
    """
    numbers = rows.assign(lost=rows["accuracy"] - rows["pruned"]).set_index(["method", "lam", "seed"]).sort_index()
    ours, direct, tuned = (numbers.loc[method] for method in ("g", "a", TUNED))
    worst = table[table["method"] == "g"].set_index("lam").loc[GRID, "relative"]
    within = ours["evidence"] - (1 + NEAR) * tuned["evidence"]
    ahead, scale = ours["evidence"] - direct["evidence"], -direct["evidence"].groupby("lam").mean()
    leads = over_seeds(ahead).div(scale, axis="index").dropna(subset="mean")
    words = [f"{mean:.1%}" if np.isnan(half) else f"{mean:.1%} ± {half:.1%}" for mean, half in leads.to_numpy()]
    saved = (direct["lost"] - ours["lost"]).round(9)  # differences of shares, of which equal ones are 0
    least = over_seeds(saved)["mean"].min()
    points = f"{'at least' if least > 0 else 'up to'} {abs(100 * least):.1f} points {'less' if least > 0 else 'more'}"
    shares = _direct_trainings(cost.of_runs(runs))
    tests = [
        (f"within {NEAR:.0%} of tuned direct training at all {len(GRID)} λ",
         f"{worst.max():+.1%}, at λ = {worst.idxmax():.3g}{by_intervals(within[within.index.isin(GRID, 'lam')])}",
         worst.max() <= NEAR),
        ("more evidence than (a) at all its λ", f"nearer to 0 by {', '.join(words)}{by_intervals(ahead)}",
         bool((leads["mean"] > 0).all())),
        ("fewer updates than two direct trainings", "{:.3f} direct trainings; by time {:.1f}".format(*shares),
         shares[0] < 2),
        (f"loses no more accuracy than (a) when {REMOVED}% of the weights go", f"{points}{by_intervals(saved)}",
         least >= 0),
    ]  # fmt: skip
    goals = pd.DataFrame(tests, columns=["claim", "measured", "holds"])
    verdict = goals.pop("holds").map({True: f"{SIGNS['agrees']} holds", False: f"{SIGNS['differs']} does not hold"})
    goals = goals.replace("-", "−", regex=True).assign(verdict=verdict)
    listed = in_words(goals, "- {verdict}: {claim} ({measured})").replace("; - ", "\n- ")
    (folder(profile) / "one_network.md").write_text(f"{listed.removesuffix('.')}\n")
    caption = (
        f"What the tempered hypernetwork should reach, and whether it does, by means over the seeds (± their 95% "
        "intervals). By intervals: at how many λ the whole interval meets the goal, as the paper's claims have to."
        f"{against_pairs(table, tuned.reset_index())}"
    )
    return artefacts.table("one_network-claims", goals.style.hide(axis="index"), caption, goals, runs.values())
