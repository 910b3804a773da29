"""The audit: settings on trial, levels and orders of removal, and the printed numbers of updates taken apart."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from torch import Generator, Tensor

from ccbook import perform
from ccbook.book import artefacts, plots
from ccbook.book.formats import folder, in_words, write_csv
from ccbook.chapters import METHODS, defaults
from ccbook.compare import cells, distance, printed
from ccbook.machine import download
from ccbook.parameters import PROFILES
from ccbook.records import store
from ccbook.records.run import Run, read
from ccbook.wording import count
from complexity_control import pruning
from complexity_control.digits import scale
from complexity_control.objective import log_likelihood
from complexity_control.posterior import Params, Posterior, drawn, logits, normal
from complexity_control.training import steps

FAMILIES = {"ab": "direct", "ce": "hypernetworks"}  # of methods that share their settings
PARTS = {"accuracy_curve_mean": "Table 1", "stability": "Table 2", "evidence": "Table 3", "curve": "Figure 1"}
BASELINE = "local draws, shuffled"  # the book's settings before the search
ORDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of removal, the largest first; the book's is the first
    "relative density": pruning.log_density,
    "|μ|": lambda mean, log_std: -mean.abs(),
    "density at zero": lambda mean, log_std: pruning.log_density(mean, log_std) - log_std,
}
LEVELS = range(100)  # percent removed


def try_settings(profile: str, device: str, seeds: list[int]) -> pd.DataFrame:
    """Train or find each trial of trials.csv, and measure how far it lies from the paper; write audit.csv.

    A trial is a set of settings for both methods of a family, and a row of trials.csv gives them to one or to both. The
    nearest of each family, and the baseline, are then tried with the book's seeds.
    Returns: rows of family, trial, book (whether these are the book's settings), seeds, chosen_by and reported
        (distances), each of PARTS, outcome, runs.
    """
    trials = read_trials() if profile == "paper" else read_trials().query("trial in [@BASELINE, 'one draw']")  # a look
    study = _tried(trials, profile, device, seeds)
    finals = trials.merge(pd.concat([best(study), study.query("trial == @BASELINE")])[["family", "trial"]])
    study = pd.concat([study, _tried(finals, profile, device, defaults("a_direct")["seeds"])], ignore_index=True)
    study = study.drop_duplicates(["family", "trial", "seeds"], ignore_index=True)  # a quick profile has one seed
    write_csv(study, folder(profile) / "audit.csv")
    return study


def read_trials() -> pd.DataFrame:
    """Rows of trials.csv: family, methods, trial, and what it changes."""
    trials = pd.read_csv(Path(__file__).with_name("trials.csv"))
    return trials.assign(family=["ab" if set(methods) <= set("ab") else "ce" for methods in trials["methods"]])


def _tried(trials: pd.DataFrame, profile: str, device: str, seeds: list[int]) -> pd.DataFrame:
    jobs, names = [], []
    books: dict[tuple[str, str], bool] = {}
    for row in trials.to_dict("records"):
        family, methods, trial = (row.pop(name) for name in ("family", "methods", "trial"))
        changes = {n: v for n, v in row.items() if not pd.isna(v)}
        for letter in methods:
            usual = defaults(METHODS[letter].name) | {"profile": profile, "device": device}
            jobs.append((METHODS[letter].name, usual | changes | {"seeds": seeds}))
            names.append((family, trial))
            books[family, trial] = books.get((family, trial), True) and usual == usual | changes
    outcomes: dict[tuple[str, str], list[Run | str]] = {}
    for name, outcome in zip(names, perform.perform_all(jobs, device), strict=True):
        outcomes.setdefault(name, []).append(outcome)
    return pd.DataFrame([{"family": family, "trial": trial, "book": books[family, trial]} | distances(of_trial)
                         for (family, trial), of_trial in outcomes.items()])  # fmt: skip


def distances(outcomes: Iterable[Run | str]) -> dict[str, Any]:
    """How far a trial's runs lie from the paper together, in tolerances; or the words of one that diverged."""
    words = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if words:
        return {"outcome": "; ".join(words)}
    runs = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    rows = pd.concat(map(distance.differences, runs))
    parts = {part: distance.distance(rows[rows["quantity"] == part], printed.LAMBDAS) for part in PARTS}
    ends = {"chosen_by": distance.CHOSEN_BY, "reported": distance.REPORTED_AT}
    whole = {name: distance.distance(rows, lambdas) for name, lambdas in ends.items()}
    seeds = runs[0].metrics["seed"].nunique()
    return {"seeds": seeds} | whole | parts | {"outcome": "trained", "runs": " ".join(run.id for run in runs)}


def best(study: pd.DataFrame) -> pd.DataFrame:
    """The trial of each family that is nearest to the paper at the lambdas to choose by, of all trials."""
    few = study[study["seeds"] == study["seeds"].min()]
    return few.loc[few.groupby("family")["chosen_by"].idxmin()]


def nearest(study: pd.DataFrame) -> dict[str, Run]:
    """The runs of the best trials, by the method's letter."""
    return {name[0]: read(store.home() / name) for ids in best(study)["runs"] for name in ids.split()}


def choice(study: pd.DataFrame) -> Markdown:
    """What the search says of each family, and whether the untouched lambdas confirm it."""
    lines = []
    for chosen in best(study).itertuples():
        rows = study[(study["family"] == chosen.family) & (study["seeds"] == study["seeds"].max())].set_index("trial")
        found, before = rows.loc[chosen.trial], rows.loc[BASELINE]
        words = f"- **{FAMILIES[chosen.family]}**: nearest at the λ to choose by is *{chosen.trial}* "
        words += f"({chosen.chosen_by:.2f} tolerances). With {count(int(found['seeds']), 'seed')} and at the "
        words += f"untouched λ it is {found['reported']:.2f} tolerances from the paper, *{BASELINE}* "
        share = found["reported"] / before["reported"]
        better = "clearly" if share <= distance.CLEARLY else "not clearly" if share < 1 else "not"
        words += f"{before['reported']:.2f}: {better} better. The book uses *{rows.index[rows['book']][0]}*."
        lines.append(words)
    return Markdown("\n".join(lines))


def map_of_trials(study: pd.DataFrame, runs: Iterable[Run]) -> artefacts.Artefact:
    """Each trial's distance at the lambdas to choose by, across, and at the untouched ones, up; a panel each family."""
    trained = study[study["seeds"] == study["seeds"].min()]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 7), sharex=True, sharey=True, layout="constrained")
    for (family, rows), ax in zip(trained.groupby("family"), axes, strict=True):
        for k, row in enumerate(rows.itertuples()):
            colour = "black" if row.book else sns.color_palette("colorblind")[k % 10]
            marker = "*" if row.book else plots.MARKERS[k % len(plots.MARKERS)]
            ax.plot([row.chosen_by], [row.reported], marker, color=colour, label=row.trial)
        ax.axvline(1, color="gray", linewidth=0.7)
        ax.axhline(1, color="gray", linewidth=0.7)
        ax.set(xscale="log", yscale="log", xlim=(0.9, 5.5), ylim=(0.9, 5.5), title=FAMILIES[str(family)])
        plots.plain_ticks(ax.xaxis, ax.yaxis)
        ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.08))
    figure.supxlabel("distance to the paper in tolerances, at λ = 1 and 100, to choose by")
    axes[0].set_ylabel("at λ = 0.1 and 10, untouched")
    words = "{family}, {trial}: {chosen_by:.2f} and {reported:.2f}"
    alt = "Each trial's distance to the paper at the lambdas to choose by and at the untouched ones. "
    caption = "How far each setting lies from the whole paper; the star is the book's, the lines are at one tolerance."
    return artefacts.figure("audit-distances", figure, caption, alt + in_words(trained, words), study, runs)


def trials(study: pd.DataFrame, runs: Iterable[Run]) -> artefacts.Artefact:
    """The trials, one a row."""
    titles = {"chosen_by": "λ = 1, 100", "reported": "λ = 0.1, 10", **PARTS}
    shown = study.replace({"family": FAMILIES, "outcome": {"trained": ""}})
    shown = shown[["family", "trial", "seeds", *titles, "outcome"]].rename(columns=titles)
    formats = dict.fromkeys(titles.values(), "{:.2f}") | {"seeds": "{:.0f}"}
    styled = shown.style.format(formats, na_rep="–").hide(axis="index")
    styled = styled.set_properties(subset=["trial"], **{"white-space": "nowrap", "text-align": "left"})
    return artefacts.table("audit-trials", styled, "The trials and their distances, in tolerances.", study, runs)


@torch.no_grad()
def levels(runs: Mapping[str, Run], profile: str, device: str) -> pd.DataFrame:
    """Accuracy at fine levels of removal, by each of ORDERS; of each run's first seed.

    Returns: rows of order, method, lam, pruned_percent, accuracy, and paper, where Figure 1 has this level.
    """
    digits, rows = download.load("MNIST", device, test=PROFILES[profile].test), []
    pixels = scale(digits.test_images).T.contiguous()
    for letter, run in runs.items():
        first, q = first_seed(run, device)
        for order, density in ORDERS.items():
            places = removal(q, density)
            for k, lam in enumerate(first["lam"]):
                network, removed = ({n: t[k] for n, t in each.items()} for each in (q.mean, places))
                accuracies = fine_curve(network, removed, pixels, digits.test_labels)
                rows += [(order, letter, lam, *point) for point in zip(LEVELS, accuracies, strict=True)]
    fine = pd.DataFrame(rows, columns=["order", "method", "lam", "pruned_percent", "accuracy"])
    return fine.merge(printed.curves().rename(columns={"value": "paper"}), how="left")


def first_seed(run: Run, device: str) -> tuple[pd.DataFrame, Posterior]:
    """The metrics and the posteriors of a run's first seed at the paper's lambdas, row by row."""
    first = run.metrics.query("seed == seed.min() and lam in @printed.LAMBDAS")
    q = Posterior(*({n: t[first.index].to(device) for n, t in part.items()} for part in run.posterior))
    return first, q


def removal(q: Posterior, density: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """Each weight's place in the order of removal, the densest first, from 0."""
    places = {}
    for name in [n for n in q.mean if n.startswith("W")]:
        densities = density(q.mean[name], q.log_std[name]).flatten(1)
        order = densities.argsort(dim=1, descending=True, stable=True)
        places[name] = order.argsort(dim=1).view_as(q.mean[name])
    return places


def fine_curve(network: Params, places: Mapping[str, Tensor], pixels: Tensor, labels: Tensor) -> list[float]:
    """Accuracy of a network of one hidden layer without the first of `places`, by each of LEVELS; biases are kept.

    From level to level only the part of what is removed is taken off the hidden units' sums.
    Args: pixels, scaled, [pixels, digits].
    """
    (w1, place1), (w2, place2) = ((network[name].T, places[name].T) for name in ("W1", "W2"))
    sums, before, accuracies = torch.addmm(network["b1"].unsqueeze(1), w1, pixels), 0, []
    for percent in LEVELS:
        upto = place1.numel() * percent // 100
        sums -= (w1 * ((place1 >= before) & (place1 < upto))).to_sparse() @ pixels
        kept = w2 * (place2 >= place2.numel() * percent // 100)
        outputs = torch.addmm(network["b2"].unsqueeze(1), kept, sums.relu())
        accuracies.append((outputs.argmax(0) == labels).double().mean().item())
        before = upto
    return accuracies


def shifts(fine: pd.DataFrame) -> pd.DataFrame:
    """Whether the paper's levels may have been others: the one shift of all levels that explains the curves best.

    Returns: for each order of removal, the root mean square difference from the paper's curves as they stand, the shift
        in points at the upper end (level p becomes p + shift p / 90) with the least difference, and that difference.
    """
    rows = {}
    for order, points in fine.groupby("order", sort=False):
        squares = pd.DataFrame({shift: _squares(points, shift) for shift in range(-5, 9)})
        rms = squares.mean() ** 0.5
        rows[order] = {"as they stand": rms[0], "best shift": rms.idxmin(), "with it": rms.min()}
    return pd.DataFrame(rows).T.rename_axis("order")


def _squares(points: pd.DataFrame, shift: float) -> pd.Series:
    def of_curve(curve: pd.DataFrame) -> pd.Series:
        known = curve.dropna(subset="paper")
        place = known["pruned_percent"] * (1 + shift / 90)
        return (np.interp(place, curve["pruned_percent"], curve["accuracy"]) - known["paper"]) ** 2

    return pd.concat([of_curve(curve) for _, curve in points.groupby(["method", "lam"])], ignore_index=True)


@torch.no_grad()
def likelihoods(runs: Mapping[str, Run], profile: str, device: str) -> pd.DataFrame:
    """Table 3 by three readings of the likelihood in the evidence; of each run's first seed.

    Returns: rows of reading, method, lam, paper, ours, off (tolerances).
    """
    digits, rows = download.load("MNIST", device, PROFILES[profile].train), []
    x, y = scale(digits.train_images).unsqueeze(0), digits.train_labels
    for letter, run in runs.items():
        first, posteriors = first_seed(run, device)
        for k, row in enumerate(first.to_dict("records")):  # one by one: all of them together take much memory
            q = Posterior(*({n: t[[k]] for n, t in part.items()} for part in posteriors))
            noise = [normal([Generator(device).manual_seed(0)], mean.shape[1:]) for mean in q.mean.values()]
            fits = {"expected": row["log_likelihood"]}
            for reading, weights in {"one draw": drawn(q, noise), "at the mean": q.mean}.items():
                fits[reading] = float(log_likelihood(logits(weights, x), y.unsqueeze(0)))
            paper = printed.of_method(letter)["evidence"][row["lam"]]
            for reading, fit in fits.items():
                ours = fit - row["lam"] * row["kl"]
                off = cells.tolerances_off("evidence", paper, ours)
                rows.append((reading, letter, row["lam"], paper, ours, min(off, distance.CAP)))
    return pd.DataFrame(rows, columns=["reading", "method", "lam", "paper", "ours", "off"])


def updates(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Table 1's updates, a row a method: divided by the paper's epochs, its four lambdas, minibatches of 128 digits."""
    counts = printed.tables().query("quantity == 'updates'").set_index("method")["value"].astype(int)
    batches, rows = -(-60_000 // 128), {}
    for letter, number in counts.items():
        chapter, run = METHODS[letter], runs[letter]
        epochs, lambdas = defaults(chapter.name)["epochs"], 1 if chapter.is_hypernetwork else len(printed.LAMBDAS)
        how = " ".join(f"÷ {part} {name}" for part, name in ((epochs, "epochs"), (lambdas, "λ")) if part > 1)
        each_model = number / (epochs * lambdas)
        if chapter.start:
            how, each_model = f"less ({chapter.start})", number - counts[chapter.start]
        own = run.metrics["updates"].max() or run.metrics["updates_shared"].max()
        rows[letter] = {
            "printed": f"{number:,}",
            "taken apart": how,
            f"÷ {batches} minibatches": f"{each_model / batches:,.10g}",
            "our trained parameters": f"{own / steps(run.receipt['data']['train'], run.parameters.settings):,.0f}",
        }
    return pd.DataFrame(rows).T.rename_axis("method")
