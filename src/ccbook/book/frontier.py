"""The two terms of the generalised evidence against each other, for all methods: the derivation's frontier."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from ccbook.book import artefacts
from ccbook.book.formats import in_words, mark
from ccbook.book.plots import MARKERS, palette, plain_ticks
from ccbook.chapters import METHODS
from ccbook.records.run import Run


def points(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Means over the seeds: method, lam; kl and misfit (minus the expected log-likelihood), nats a digit.

    above: by how many nats a digit the point lies above (a)'s line of slope -lambda; below it, negative.
    """
    rows = []
    for letter, run in runs.items():
        mean = run.metrics.groupby("lam")[["kl", "log_likelihood"]].mean() / run.receipt["data"]["train"]
        own = mean.assign(method=letter, misfit=-mean["log_likelihood"]).reset_index()
        rows.append(own[["method", "lam", "kl", "misfit"]])
    table = pd.concat(rows, ignore_index=True)
    price = table["misfit"] + table["lam"] * table["kl"]  # minus the generalised evidence
    direct = table.assign(price=price).query("method == 'a'").set_index("lam")["price"]
    return table.assign(above=price - table["lam"].map(direct))


def chart(runs: Mapping[str, Run]) -> artefacts.Artefact:
    """Misfit against KL, a point for each method and lambda, and (a)'s lines of slope -lambda."""
    table = points(runs)
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    colours = palette(table["lam"].unique())
    for k, (letter, own) in enumerate(table.groupby("method")):
        ax.scatter(own["kl"], own["misfit"], s=55, c=own["lam"].map(colours), marker=MARKERS[k], zorder=3)
        ax.plot([], [], MARKERS[k], color="0.4", label=str(METHODS[str(letter)]))
    for point in table[table["method"] == "a"].itertuples():
        # as far as the axis allows: a line reaches zero misfit at misfit / lambda to the right
        reach = min(0.6 * point.kl, 0.6 * point.misfit / point.lam)
        kl = point.kl + reach * np.linspace(-1, 1, 50)
        ax.plot(kl, point.misfit - point.lam * (kl - point.kl), color=colours[point.lam], label=f"λ = {point.lam:g}")
    ax.set(xscale="log", yscale="log", xlabel="KL(q‖p), nats a digit", ylabel="expected −log-likelihood, nats a digit")
    plain_ticks(ax.xaxis, ax.yaxis)
    ax.legend(fontsize="small", ncols=2)
    ax.set_title("\n".join({mark(run) for run in runs.values()} - {""}), color="firebrick", fontsize="medium")
    others = table[table["method"] != "a"]
    caption = (
        "Expected negative log-likelihood against KL: a shape for each method, a colour for each λ, means over seeds. "
        "The lines through (a) have the slope −λ. "
        f"{(others['above'] >= 0).sum()} of the {len(others)} other points lie above (a)'s line of their own λ."
    )
    alt = in_words(table, "({method}), λ = {lam:g}: KL {kl:.3g}, negative log-likelihood {misfit:.3g}")
    alt = f"Expected negative log-likelihood against KL, in nats a digit, on logarithmic axes. {alt}"
    return artefacts.figure("derivation-frontier", figure, caption, alt, table, runs.values())
