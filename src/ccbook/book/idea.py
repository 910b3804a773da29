"""The idea in pictures: hidden units in use, the plane of weights and labels, one weight; and the answer from them."""

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, Markdown
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ccbook.book import artefacts
from ccbook.book.formats import folder, in_words, marks
from ccbook.book.plots import MARKERS, look, palette, plain_ticks
from ccbook.chapters import METHODS
from ccbook.compare.printed import LAMBDAS
from ccbook.records.run import Run
from complexity_control.objective import kl
from complexity_control.posterior import Posterior

NORM = 0.5  # of a unit's mean incoming weights: above it, the unit is in use
NATS = 10  # the check: of a unit's incoming weights against the prior
APART = 3  # units between the two counts that a reader is told of
WEIGHTS, LABELS = "bits a digit for the weights", "bits a digit for the labels"
SCALE = 0.25  # of the images: a weight that has the full colour
# the linear model of the derivation, one weight: curvature 40 / 0.3² of the log-likelihood, its maximum, the prior
CURVATURE, BEST, PRIOR_STD = 40 / 0.3**2, 0.12, 0.1


def units(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Hidden units in use: rows of method, lam, seed, by_norm, by_kl, and how many there are, of."""
    tables = []
    for letter, run in runs.items():
        mean, log_std = (part["W1"].transpose(1, 2) for part in run.posterior)  # [S, units, inputs]
        each = Posterior({"W1": mean.flatten(0, 1)}, {"W1": log_std.flatten(0, 1)})
        nats = kl(each, run.parameters.prior_std).view(mean.shape[:2])
        counts = {"by_norm": mean.norm(dim=2) > NORM, "by_kl": nats > NATS}
        counted = {name: used.sum(1).tolist() for name, used in counts.items()}
        tables.append(run.metrics[["lam", "seed"]].assign(method=letter, **counted, of=mean.shape[1]))
    return pd.concat(tables, ignore_index=True)


def plane(runs: Mapping[str, Run], profile: str) -> pd.DataFrame:
    """Means over the seeds: method, lam, weights and labels (bits a digit).

    The recorded lambdas, and of those that the page one_network asks the hypernetworks for, all in their range.
    """
    recorded = [run.metrics.groupby("lam")[["kl", "log_likelihood"]].mean().reset_index().assign(method=letter)
                for letter, run in runs.items()]  # fmt: skip
    asked = pd.read_csv(folder(profile) / "one_network.csv").query("@LAMBDAS[0] <= lam <= @LAMBDAS[-1]")
    rows = pd.concat([*recorded, asked]).drop_duplicates(["method", "lam"]).sort_values(["method", "lam"])
    bits = runs["a"].receipt["data"]["train"] * np.log(2)
    rows = rows.assign(weights=rows["kl"] / bits, labels=-rows["log_likelihood"] / bits)
    return rows[["method", "lam", "weights", "labels"]].reset_index(drop=True)


def costs(points: pd.DataFrame, lam: float) -> pd.DataFrame:
    """Each method's point of the plane that costs least at lambda, labels + lam weights; the cheapest first."""
    priced = points.assign(cost=points["labels"] + lam * points["weights"])
    return priced.loc[priced.groupby("method")["cost"].idxmin()].sort_values("cost")


def touching(points: pd.DataFrame, lam: float) -> str:
    """What the line of equal cost touches at lambda, and what the other methods' best networks cost; as idea.js."""
    best, *others = (row | look(row["method"]) for row in costs(points, lam).to_dict("records"))
    more = ", ".join(f"{row['short']} {row['cost'] / best['cost'] - 1:.0%}" for row in others)
    return (
        f"At λ = {lam:.3g} the line touches {best['title']}, trained or asked for λ = {best['lam']:.3g}: "
        f"{best['weights']:.3f} bits for the weights and {best['labels']:.3f} for the labels, a cost of "
        f"{best['cost']:.3f}. The best networks of the other methods cost more: {more}."
    )


def _curves(ax: Axes, table: pd.DataFrame, x: str, y: str, runs: Mapping[str, Run]) -> None:
    """A curve for each method on logarithmic axes."""
    for k, (method, own) in enumerate(table.groupby("method")):
        shown = look(str(method))
        face = shown["colour"] if shown["solid"] else "white"
        ax.plot(own[x], own[y], "-" if shown["solid"] else "--", marker=MARKERS[k % len(MARKERS)], markersize=5,
                color=shown["colour"], markerfacecolor=face, label=shown["title"])  # fmt: skip
    ax.set(xscale="log", yscale="log")
    plain_ticks(ax.xaxis, ax.yaxis)
    ax.figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    ax.set_title(marks(runs.values()), color="firebrick", fontsize="medium")


def answer(counts: pd.DataFrame, runs: Mapping[str, Run]) -> Markdown:
    """What the paper asks, answered in three sentences: direct training, the paper's hypernetworks, and the others."""
    used = counts.groupby(["method", "lam"])["by_norm"].mean()
    evidence = {letter: run.metrics.groupby("lam")["evidence"].mean() for letter, run in runs.items()}
    first, last = (f"λ = {lam:g}" for lam in evidence["a"].index[[0, -1]])
    sets = "sets" if (used["a"].diff().dropna() < 0).all() else "doesn't set"

    def clause(letter: str) -> str:
        more, (most, least) = evidence[letter] / evidence["a"] - 1, used[letter].iloc[[0, -1]]
        kept = used[letter].min() > used[letter].max() / 2
        verb = "keeps more than half of its units at every λ" if kept else "gives up units as λ grows"
        price = f"costs {more.min():+.0%} to {more.max():+.0%} against (a)".replace("-", "−")
        if more.min() * more.max() >= 0:
            less, greater = sorted(more.abs().agg(["min", "max"]))
            price = f"costs {less:.0%} to {greater:.0%} {'more' if more.max() > 0 else 'less'} than (a)"
        return f"the {METHODS[letter].title} ({letter}) {verb} ({most:.0f} to {least:.0f}), and {price}"

    theirs, ours = ([clause(letter) for letter, chapter in METHODS.items()
                     if letter in runs and chapter.is_hypernetwork and chapter.papers == papers]
                    for papers in (True, False))  # fmt: skip
    return Markdown(
        f"Trained directly for one λ, (a), a network has {used['a'].iloc[0]:.0f} of its {counts['of'].iloc[0]} hidden "
        f"units in use at {first} and {used['a'].iloc[-1]:.0f} at {last}: λ {sets} how complex it is. "
        f"The paper's hypernetworks are trained once for all λ: {'; '.join(theirs)}. "
        f"This book adds another: {'; '.join(ours)}."
    )


def units_figure(counts: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """Hidden units in use against lambda, a line for each method."""
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    table = counts.groupby(["method", "lam"])["by_norm"].agg(["mean", "min", "max"]).reset_index()
    for method, own in table.groupby("method"):
        ax.fill_between(own["lam"], own["min"], own["max"], color=look(str(method))["colour"], alpha=0.12, linewidth=0)
    _curves(ax, table, "lam", "mean", runs)
    ax.set(xlabel="λ", ylabel=f"hidden units in use, of {counts['of'].max()}", yscale="linear", ylim=(0, None))
    caption = (
        f"Hidden units in use against λ: means over the seeds, and bands from the least to the greatest. A unit counts "
        f"if the norm of its mean incoming weights is above {NORM:g}. The fine-tuned methods and (b) are dashed."
    )
    words = in_words(table, "({method}), λ = {lam:g}: {mean:.0f}")
    return artefacts.figure("idea-units", figure, caption, f"Hidden units in use against λ. {words}", counts,
                            runs.values())  # fmt: skip


def check(counts: pd.DataFrame) -> Markdown:
    """Where the count by KL differs from the one by norm, in a sentence."""
    mean = counts.groupby(["method", "lam"])[["by_norm", "by_kl"]].mean().reset_index()
    apart = mean[(mean["by_norm"] - mean["by_kl"]).abs() > APART]
    places = in_words(apart, "({method}) at λ = {lam:g}, {by_norm:.0f} by norm and {by_kl:.0f} by KL").rstrip(".")
    return Markdown(
        f"The threshold of {NORM:g} is arbitrary. As a check, we also count the units whose incoming weights have a KL "
        f"of more than {NATS} nats: {len(mean) - len(apart)} of the {len(mean)} counts differ by {APART} units or less"
        + (f". The others: {places}." if len(apart) else ".")
    )


def images(runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The first layer's means as images, a square of all units for each lambda, for (a) and each hypernetwork."""
    shown = [run for letter, run in runs.items() if letter == "a" or METHODS[letter].is_hypernetwork]
    firsts = [run.metrics.query("seed == seed.min()") for run in shown]
    figure, axes = plt.subplots(len(shown), len(firsts[0]), figsize=(8.5, 2.1 * len(shown)), layout="constrained")
    colours = LinearSegmentedColormap.from_list("signed", ["#2166ac", "white", "#b35806"])
    tables = []
    for run, first, line in zip(shown, firsts, axes, strict=True):
        means = run.posterior.mean["W1"].transpose(1, 2)
        for (place, lam), ax in zip(first["lam"].items(), line, strict=True):
            norms, order = means[place].norm(dim=1).sort(descending=True)
            whole = means[place][order].unflatten(1, (round(means.shape[2] ** 0.5), -1))
            small = (avg_pool2d(whole, 2) / SCALE * 6).round() / 6  # for a small file
            side, across = small.shape[1], math.ceil(len(order) ** 0.5)
            square = np.zeros((across**2, side, side))
            square[: len(order)] = small
            tiled = square.reshape(across, across, side, side).swapaxes(1, 2).reshape(across * side, -1)
            ax.imshow(tiled, cmap=colours, vmin=-1, vmax=1, interpolation="none")
            ax.set(xticks=[], yticks=[], title=f"λ = {lam:g}" if run is shown[0] else "")
            ax.grid(visible=False)
            tables.append(pd.DataFrame({"method": run.parameters.method, "lam": lam, "norm": norms.tolist()}))
        line[0].set_ylabel(f"({run.parameters.method})", rotation=0, labelpad=14)
    caption = (
        "The first layer, an image of the mean incoming weights for each hidden unit, the largest first, at half the "
        "resolution: blue is negative, brown positive, on one scale. First seed."
    )
    table = pd.concat(tables)
    used = table[table["norm"] > NORM].groupby(["method", "lam"]).size().rename("used").reset_index()
    words = in_words(used, "({method}), λ = {lam:g}: {used}")
    alt = f"Images of the first layer's weights. Those of units in use show strokes, the others are pale: {words}"
    return artefacts.figure("idea-images", figure, caption, alt, table, shown)


def plane_figure(points: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The plane, without scripts: a curve for each method, and the lines that touch at the paper's lambdas."""
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    _curves(ax, points, "weights", "labels", runs)
    ax.set(xlabel=WEIGHTS, ylabel=LABELS, xlim=ax.get_xlim(), ylim=ax.get_ylim())
    x = np.geomspace(*ax.get_xlim(), 400)
    for lam, colour in palette(LAMBDAS).items():
        y = costs(points, lam)["cost"].iloc[0] - lam * x
        ax.plot(x[y > 0], y[y > 0], color=colour, linewidth=1, alpha=0.8)
        ax.annotate(f"λ = {lam:g}", (x[0], y[0]), (3, 3), textcoords="offset points", color=colour, fontsize="small")
    caption = (
        "What a network's code costs: the weights across, the labels upwards, means over the seeds. All points on a "
        "line of slope −λ cost the same at this λ; on logarithmic axes such a line looks curved."
    )
    words = " ".join(touching(points, lam) for lam in LAMBDAS)
    return artefacts.figure("idea-plane", figure, caption, f"A plane with a curve for each method. {words}", points,
                            runs.values())  # fmt: skip


def weight(lambdas: Iterable[float]) -> pd.DataFrame:
    """The best posterior of one weight and the straight line's, against lambda, in the derivation's linear model.

    Returns: rows of posterior, lam, mean, std, fit (what is lost against the best weight) and price, lam KL; nats.
    """
    lam = torch.tensor([*lambdas], dtype=torch.float64)
    share = CURVATURE / (CURVATURE + lam / PRIOR_STD**2)
    best = BEST * share, (PRIOR_STD * (1 - share).sqrt()).log()
    tables = []
    for name, (mean, log_std) in {"best posterior": best, "straight line": _line(straight_line(), lam)}.items():
        fit, price = _terms(mean, log_std, lam)
        columns = {"lam": lam, "mean": mean, "std": log_std.exp(), "fit": fit, "price": price}
        table = pd.DataFrame({column: values.numpy() for column, values in columns.items()})
        tables.append(table.assign(posterior=name))
    return pd.concat(tables, ignore_index=True)


@cache
def straight_line() -> list[float]:
    """Start and slope of the mean, then of the log deviation, in lambda / 100: best over an even log lambda."""
    grid = torch.logspace(-1, 2, 61, dtype=torch.float64)

    def loss(line: np.ndarray) -> float:
        fit, price = _terms(*_line(line, grid), grid)
        return (fit + price).mean().item()

    return minimize(loss, [BEST / 2, 0, np.log(PRIOR_STD), 0]).x.tolist()


def _line(line: Any, lam: Tensor) -> tuple[Tensor, Tensor]:
    return line[0] + line[1] * lam / 100, line[2] + line[3] * lam / 100


def _terms(mean: Tensor, log_std: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    q = Posterior({"w": mean.view(-1, 1)}, {"w": log_std.view(-1, 1)})
    return CURVATURE / 2 * ((mean - BEST) ** 2 + (2 * log_std).exp()), lam * kl(q, PRIOR_STD)


def weighed(lam: float) -> str:
    """What fit and price come to at lambda; as idea.js."""
    parts = [
        f"the {row['posterior']} has mean {row['mean']:.3f} and width {row['std']:.3f}, loses {row['fit']:.2f} nats of "
        f"fit and pays {row['price']:.2f}, together {row['fit'] + row['price']:.2f}"
        for row in weight([lam]).to_dict("records")
    ]
    return f"At λ = {lam:.3g} {'; '.join(parts)}.".replace("-", "−")


def weight_figure() -> artefacts.Artefact:
    """One weight, without scripts: both posteriors and what they cost, against lambda."""
    table = weight(np.geomspace(LAMBDAS[0], LAMBDAS[-1], 61))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.6), layout="constrained")
    for colour, (name, own) in zip(("#1f77b4", "#d62728"), table.groupby("posterior"), strict=True):
        left.plot(own["lam"], own["mean"], color=colour, label=name)
        left.fill_between(own["lam"], own["mean"] - own["std"], own["mean"] + own["std"], color=colour, alpha=0.2)
        right.plot(own["lam"], own["fit"] + own["price"], color=colour)
    left.set(xscale="log", xlabel="λ", ylabel="the weight, mean ± width")
    right.set(xscale="log", xlabel="λ", ylabel="lost in fit, and paid, nats", ylim=(0, None))
    plain_ticks(left.xaxis, right.xaxis)
    left.legend()
    caption = (
        "One weight: its best posterior, and the one that a straight line in λ gives. Each loses some fit against the "
        "value that the data want, and pays λ KL. Right: the sum of the two; in the moving picture it is a bar, dark "
        "and light."
    )
    alt = f"The posteriors of one weight, and their costs. {' '.join(map(weighed, LAMBDAS))}"
    return artefacts.figure("idea-weight", figure, caption, alt, table)


def live(points: pd.DataFrame) -> HTML:
    """The script that puts moving pictures in place of the figures idea-plane and idea-weight, and its data."""
    methods = [{"method": method} | look(method) for method in points["method"].unique()]
    data = {"points": points.to_dict("records"), "methods": methods, "axes": [WEIGHTS, LABELS],
            "weight": {"h": CURVATURE, "m": BEST, "prior": PRIOR_STD, "line": straight_line()}}  # fmt: skip
    script = Path(__file__).with_suffix(".js").read_text()
    return HTML(f'<div class="live-data"><script type="application/json">{json.dumps(data)}</script>'
                f"<script>{script}</script></div>")  # fmt: skip
