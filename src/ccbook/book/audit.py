"""The audit: settings on trial, readings of Tables 1 and 2, and the printed numbers of updates taken apart."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt

from ccbook import perform
from ccbook.book import artefacts, plots
from ccbook.book.formats import folder, in_words, write_csv
from ccbook.chapters import METHODS, defaults
from ccbook.compare import printed
from ccbook.machine import download
from ccbook.parameters import PROFILES
from ccbook.records.run import Run
from complexity_control import pruning
from complexity_control.digits import Digits
from complexity_control.posterior import Posterior
from complexity_control.training import DivergedError, steps

TO = {"table3": "to Table 3", "table1": "to Table 1", "table1_curve": "to Table 1, as a mean"}


def try_settings(profile: str, device: str, seeds: list[int], runs: Mapping[str, Run]) -> pd.DataFrame:
    """Train or find each trial of trials.csv, and measure how far it lies from the printed tables; write audit.csv.

    Args: seeds, of the hypernetworks' trials; direct ones take the first. runs, the book's, which come first.
    Returns: distance()'s columns and trial; a training that diverged says so as its outcome.
    """
    trials = pd.read_csv(Path(__file__).with_name("trials.csv")).set_index(["method", "trial"])
    rows: list[dict[str, Any]] = [distance(runs[m]) | {"trial": "the book's"} for m in trials.index.unique("method")]
    for (letter, trial), values in trials.iterrows():
        name, few = METHODS[letter].name, seeds if METHODS[letter].is_hypernetwork else seeds[:1]
        changes = {"profile": profile, "device": device, "seeds": few, **values.dropna()}
        try:
            rows.append(distance(perform.perform(name, defaults(name) | changes)) | {"trial": trial})
        except DivergedError as error:
            rows.append({"method": letter, "trial": trial, "outcome": str(error).split(":")[0]})
    study = pd.DataFrame(rows).sort_values("method", kind="stable", ignore_index=True)
    write_csv(study, folder(profile) / "audit.csv")
    return study


def distance(run: Run) -> dict[str, Any]:
    """How far a run lies from the printed tables, over the paper's lambdas; means over seeds.

    Returns: table3, the root mean square of ln(ours / paper) of the evidence; table1 and table1_curve, the root mean
        square difference of the accuracy and of its mean over the pruning levels; and what the run is.
    """
    paper = printed.of_method(run.parameters.method)
    ours = run.metrics.groupby("lam")[["accuracy", "accuracy_curve_mean", "evidence"]].mean().reindex(paper.index)
    gaps = {
        "table3": np.log(ours["evidence"] / paper["evidence"]),
        "table1": ours["accuracy"] - paper["accuracy"],
        "table1_curve": ours["accuracy_curve_mean"] - paper["accuracy"],
    }
    rms = (pd.DataFrame(gaps) ** 2).mean() ** 0.5
    about = {"outcome": "trained", "seeds": run.metrics["seed"].nunique(), "run": run.id}
    return {"method": run.parameters.method} | rms.to_dict() | about


def distances(study: pd.DataFrame, runs: Iterable[Run]) -> artefacts.Artefact:
    """Each trial's distance to Table 3 across, to Table 1 up, under both readings; a panel for each method."""
    trained = study[study["table3"].notna()]
    figure, axes = plt.subplots(2, 2, figsize=(9, 9), layout="constrained")
    for (letter, rows), ax in zip(trained.groupby("method"), axes.flat, strict=False):
        for k, row in enumerate(rows.itertuples()):
            style = {"color": sns.color_palette("colorblind")[k % 10], "marker": plots.MARKERS[k], "linestyle": ":"}
            ax.plot([row.table3] * 2, [row.table1, row.table1_curve], **style, fillstyle="none")
            ax.plot([row.table3], [row.table1], **style, label=row.trial)
        ax.axvline(0.1, color="gray", linewidth=0.7)
        ax.set(xscale="log", yscale="log", title=str(METHODS[letter]))
        plots.plain_ticks(ax.xaxis, ax.yaxis)
        ax.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    figure.supxlabel("distance to Table 3: root mean square of ln(ours / paper); the line is at 0.1")
    figure.supylabel("distance to Table 1, accuracy")
    words = "({method}) {trial}: {table3:.2f} from Table 3, {table1:.2f} or {table1_curve:.2f} from Table 1"
    alt = "Each trial's distance to Table 3 and, in two readings, to Table 1, a panel for each method. "
    caption = "How far each setting lies from the printed tables."
    return artefacts.figure("audit-distances", figure, caption, alt + in_words(trained, words), study, runs)


def trials(study: pd.DataFrame, runs: Iterable[Run]) -> artefacts.Artefact:
    """The trials, one a row."""
    shown = study[["method", "trial", *TO, "outcome", "seeds", "run"]].rename(columns=TO)
    formats = dict.fromkeys(TO.values(), "{:.3f}") | {"seeds": "{:.0f}"}
    styled = shown.style.format(formats, na_rep="–").hide(axis="index")
    return artefacts.table("audit-trials", styled, "The trials and their distances.", study, runs)


def read_tables(profile: str, device: str, runs: Mapping[str, Run]) -> pd.DataFrame:
    """Tables 1 and 2 under each reading, from the recorded posteriors; write readings.csv.

    Returns: rows of quantity, reading, method, lam, paper, ours (mean over seeds).
    """
    digits = download.load("MNIST", device, test=PROFILES[profile].test)
    curves = pd.concat(fine_curves(run, digits) for run in runs.values())
    ways = {
        ("accuracy", "whole network"): curves[0],
        ("accuracy", "mean of 0, 10, …, 90% removed"): curves[list(pruning.PERCENTS)].mean(axis="columns"),
        ("accuracy", "mean of 0, 5, …, 100% removed"): curves.mean(axis="columns"),
        ("stability", "whole / 90% removed"): curves[0] / curves[90],
        ("stability", "whole / 95% removed"): curves[0] / curves[95],
    }
    ours = pd.DataFrame(ways).groupby(["method", "lam"]).mean()
    ours = ours.melt(var_name=["quantity", "reading"], value_name="ours", ignore_index=False).reset_index()
    rows = ours.merge(printed.tables().rename(columns={"value": "paper"}), on=["quantity", "method", "lam"])
    rows = rows[["quantity", "reading", "method", "lam", "paper", "ours"]]
    write_csv(rows, folder(profile) / "readings.csv")
    return rows


@torch.no_grad()
def fine_curves(run: Run, digits: Digits) -> pd.DataFrame:
    """Accuracy of a recorded posterior: rows by method, lam and seed, columns of percent removed, in steps of 5."""
    curves = run.metrics.set_index(["method", "lam", "seed"])[["accuracy"]].set_axis([0], axis="columns")  # on record
    q = Posterior(*({n: t.to(digits.test_labels.device) for n, t in part.items()} for part in run.posterior))
    for percent in range(5, 101, 5):
        right = pruning.accuracy(pruning.prune(q, percent), digits.test_images, digits.test_labels)
        curves[percent] = right.cpu().numpy()
    return curves


def readings(rows: pd.DataFrame, runs: Iterable[Run]) -> artefacts.Artefact:
    """Ours against the paper's, a panel for each reading; on the diagonal the two agree."""
    figure, axes = plt.subplots(2, 3, figsize=(9.5, 6.5), layout="constrained")
    colours = sns.color_palette("colorblind", rows["method"].nunique())
    panels = rows.groupby(["quantity", "reading"], sort=False)
    for ((quantity, reading), points), ax in zip(panels, axes.flat, strict=False):
        for k, (method, own) in enumerate(points.groupby("method")):
            ax.plot(own["paper"], own["ours"], plots.MARKERS[k], color=colours[k], label=f"({method})")
        numbers = points[["paper", "ours"]].to_numpy()
        ends = [numbers.min(), numbers.max()]
        ax.plot(ends, ends, color="gray", linewidth=0.7)
        ax.set(xlabel="paper", ylabel="ours")
        ax.set_title(f"{quantity}: {reading}", fontsize="small")
    axes.flat[-1].axis("off")
    axes.flat[-1].legend(*axes.flat[0].get_legend_handles_labels(), loc="center", title="method")
    words = in_words(differences(rows).reset_index(), "{quantity}, {reading}: {all:.2f}")
    alt = "Ours against the paper's, a panel for each reading, a marker for each method. Root mean square distance "
    caption = "Ours against the paper's under each reading; on the diagonal the two agree."
    return artefacts.figure("audit-readings", figure, caption, f"{alt}from the diagonal: {words}", rows, runs)


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Root mean square difference from the paper under each reading, for each method and for all."""
    squares = rows.assign(square=(rows["ours"] - rows["paper"]) ** 2)
    by_method = squares.groupby(["quantity", "reading", "method"])["square"].mean().unstack()
    return (by_method.assign(all=squares.groupby(["quantity", "reading"])["square"].mean()) ** 0.5).round(3)


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
