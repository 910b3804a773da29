"""The lambda explorer: what its page computes with in the browser, and the accuracy surface, computed here."""

import base64
import gzip
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from pandas.io.formats.style import Styler
from torch import Tensor

from ccbook.book import artefacts, audit
from ccbook.book.formats import folder, in_words, write_csv
from ccbook.chapters import METHODS as ALL_METHODS
from ccbook.compare import printed
from ccbook.machine import download
from ccbook.parameters import PROFILES, Hypernetwork
from ccbook.perform import method_of
from ccbook.records.run import Run
from complexity_control.digits import Digits
from complexity_control.objective import kl
from complexity_control.posterior import Posterior
from complexity_control.pruning import accuracy, prune

COMPUTED = ("low_rank", "linear", "tempered")  # the functions of methods that the page's script has too
METHODS = {letter: chapter.function for letter, chapter in ALL_METHODS.items() if chapter.function in COMPUTED}
BESIDE = "a"  # trained directly, and shown behind them for the nearest of its lambdas
CODES = 2**16 - 1
SAMPLE = 1_000  # test digits in the page; its accuracy is a multiple of 0.1%
FIT = 300  # training digits, for the evidence; more would make a move of the slider slow
LAMBDAS = 10 ** np.linspace(-1, 2, 13)  # four to a decade
PERCENTS = [*range(0, 100, 10), 95, 99]
FINE = 10 ** np.linspace(-1, 2, 31)  # where a weight's price is looked for
LOSSES = (2, 5, 20)  # points of accuracy, of the surface's lines
FEW = 0.01  # of a hidden unit's weights


def write(profile: str, runs: Mapping[str, Run]) -> pd.DataFrame:
    """Write the page's data and surface.csv; return the surface, as of surface()."""
    cap = PROFILES[profile]
    digits = download.load("MNIST", "cpu", cap.train, cap.test)
    write_scripts(folder(profile).parent / "explorer", runs, digits)
    rows = surface(runs, digits)
    write_csv(rows, folder(profile) / "surface.csv")
    return rows


def surface(runs: Mapping[str, Run], digits: Digits) -> pd.DataFrame:
    """Test accuracy over lambda and the percent of removed weights, which a hypernetwork gives without training.

    Returns: rows of method, lam, pruned_percent, accuracy, kl (nats, of the posterior before pruning).
    """
    rows = []
    for method in METHODS:
        for lam in LAMBDAS.tolist():  # one posterior at a time: all of them together wouldn't fit in the cache
            q = generated(runs[method], [lam])
            complexity = kl(q, runs[method].parameters.prior_std).item()
            for percent in PERCENTS:
                right = accuracy(prune(q, percent), digits.test_images, digits.test_labels).item()
                rows.append((method, lam, percent, right, complexity))
    return pd.DataFrame(rows, columns=["method", "lam", "pruned_percent", "accuracy", "kl"])


def generated(run: Run, lambdas: list[float]) -> Posterior:
    """The posteriors that a hypernetwork's run gives by its first seed for any lambdas, one a row."""
    params = {name: tensor[:1] for name, tensor in run.hypernetwork.items()}
    return method_of(run.parameters).posterior(params, torch.tensor([lambdas]))


def write_scripts(home: Path, runs: Mapping[str, Run], digits: Digits) -> None:
    """Write the page's data as scripts, since a page opened from a disk may load nothing else.

    A hypernetwork's parameters, and the posteriors of (a), first seed, go in 16 bits: evenly spaced steps over each
    tensor's range, because the half-precision float has ten times larger steps where the weights lie, and weights would
    be removed in another order. Of the digits go the first `SAMPLE` of the test set and `FIT` of the training set. Each
    script calls `explorer.receive(name, description, base64 of gzipped bytes)`.

    Raises: ValueError if a network has more than one hidden layer, which the page can't compute.
    """
    home.mkdir(parents=True, exist_ok=True)
    for letter in (*METHODS, BESIDE):
        run, p = runs[letter], runs[letter].parameters
        if len(p.hidden) != 1:
            raise ValueError(f"run {run.id} has hidden = {list(p.hidden)}; the explorer computes one hidden layer")
        lambdas, params = _content(run)
        tensors, codes = [], b""
        for part, tensor in params.items():
            values = tensor.double().numpy()
            low, step = values.min(), (values.max() - values.min()) / CODES or 1.0
            tensors.append({"name": part, "shape": values.shape, "low": low, "step": step})
            codes += ((values - low) / step).round().astype("<u2").tobytes()
        about = {name: getattr(p, name, None) for name in ("feed", "prior_std", "lam_range")}
        about |= {"run": run.id, "seed": p.seeds[0], "lambdas": lambdas, "train": run.receipt["data"]["train"],
                  "tensors": tensors}  # fmt: skip
        _script(home, ALL_METHODS[letter].function, about, codes)
    counts = (FIT, FIT, SAMPLE, SAMPLE)
    samples = [tensor[:n].numpy().astype(np.uint8) for tensor, n in zip(digits, counts, strict=True)]
    about = {"digits": [len(labels) for labels in samples[1::2]], "pixels": samples[0].shape[1]}
    _script(home, "digits", about, b"".join(sample.tobytes() for sample in samples))


def _content(run: Run) -> tuple[list[float], dict[str, Tensor]]:
    """What a script holds: no lambdas and a hypernetwork's parameters, or the lambdas and their posteriors."""
    if isinstance(run.parameters, Hypernetwork):
        return [], {name: stack[0] for name, stack in run.hypernetwork.items()}
    rows, q = audit.first_seed(run, "cpu")
    each = {f"{k}.{part}.{name}": tensor for part, tensors in q._asdict().items() for name, stack in tensors.items()
            for k, tensor in enumerate(stack)}  # fmt: skip
    return rows["lam"].tolist(), each


def _script(home: Path, name: str, about: dict[str, Any], content: bytes) -> None:
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()  # no time: the same data give the same file
    (home / f"{name}.js").write_text(f'explorer.receive("{name}", {json.dumps(about)}, "{packed}");\n')


def figure(rows: pd.DataFrame, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """Accuracy over lambda and the percent of removed weights, with lines of equal loss; a panel each method."""
    picture, axes = plt.subplots(1, len(METHODS), figsize=(10, 3.6), sharey=True, layout="constrained")
    words = []
    for (method, points), ax in zip(rows.groupby("method"), axes, strict=True):
        title = str(ALL_METHODS[str(method)])
        grid = points.pivot_table("accuracy", "pruned_percent", "lam")
        place = (grid.columns, grid.index, grid.to_numpy())
        # so fine that no step looks like an edge
        filled = ax.contourf(*place, levels=np.linspace(0.5, 1, 51), cmap="cividis", extend="min")
        filled.set_edgecolor("face")
        best = points["accuracy"].max()
        lines = {best - loss / 100: f"−{loss}" for loss in reversed(LOSSES) if best > loss / 100}
        # two colours, because no one colour is seen on both ends of the map
        colours = ["white" if level < 0.75 else "black" for level in lines]
        ax.clabel(ax.contour(*place, levels=[*lines], colors=colours, linewidths=0.9), fmt=lines, fontsize=8)
        ax.set(xscale="log", xlabel="λ", title=title)
        ax.xaxis.set_major_formatter("{x:g}")
        ends = [f"{grid.loc[percent, lam]:.1%} at λ = {lam:g} with {percent}% removed"
                for percent in (PERCENTS[0], 90, PERCENTS[-1]) for lam in grid.columns[[0, -1]]]  # fmt: skip
        words.append(f"{title}: {', '.join(ends)}")
    axes[0].set_ylabel("weights removed, %")
    picture.colorbar(filled, ax=axes, label="test accuracy", ticks=np.linspace(0.5, 1, 6))
    caption = (
        "Accuracy over λ and the share of removed weights, from one trained hypernetwork each. The lines say how many "
        f"points of accuracy are lost against the best place of the map; the edge of the plateau is at −{LOSSES[0]}."
    )
    alt = f"Test accuracy over λ and the percent of removed weights, a map for each hypernetwork. {'; '.join(words)}."
    return artefacts.figure("explorer-surface", picture, caption, alt, rows, runs.values())


def prices(run: Run) -> np.ndarray:
    """The lambda at which (g) has half given up each weight of the first layer, of its first seed: [pixels, hidden].

    There its variance is half the prior's. The price is the largest of FINE up to which it isn't; 0 if there is none.
    """
    half = run.parameters.prior_std**2 / 2
    found = torch.zeros(())
    for lam in FINE.tolist():  # from the smallest
        variance = (2 * generated(run, [lam]).log_std["W1"][0]).exp()
        found = torch.where(variance <= half, lam, found)
    return found.numpy()


def price_map(run: Run, runs: Iterable[Run]) -> artefacts.Artefact:
    """The prices of the first layer's weights: an image for each hidden unit, the most expensive first."""
    values = prices(run)
    shown = values[:, np.argsort(-values.mean(0))][:, : ((values > 0).mean(0) > FEW).sum()]
    side, across, gap = math.isqrt(len(values)), 10, 1
    down = -(-shown.shape[1] // across)
    sheet = np.full((down * (side + gap), across * (side + gap)), np.nan)
    for k, unit in enumerate(shown.T):
        top, left = ((side + gap) * place for place in divmod(k, across))
        sheet[top : top + side, left : left + side] = unit[: side * side].reshape(side, side).clip(FINE[0] / 2)
    figure, ax = plt.subplots(figsize=(9, 0.9 * down + 0.6), layout="constrained")
    shades = plt.get_cmap("cividis").with_extremes(under="0.9")
    picture = ax.imshow(sheet, cmap=shades, norm=LogNorm(FINE[0], max(values.max(), 10)), interpolation="nearest")
    ax.set_axis_off()
    figure.colorbar(picture, ax=ax, label="price, λ", extend="min")
    rows = pd.DataFrame({"lam": printed.LAMBDAS})
    rows["weights"] = [(values >= 0.999 * lam).mean() for lam in rows["lam"]]
    rows["units"] = [((values >= 0.999 * lam).mean(0) > FEW).sum() for lam in rows["lam"]]
    caption = (
        "The price of each weight of the first layer, the λ at which (g) has half given it up: an image of the pixels "
        f"for each hidden unit, the most expensive first. Grey: below {FINE[0]:g}. Left out are the "
        f"{values.shape[1] - shown.shape[1]} units that are grey."
    )
    words = in_words(rows, "at λ = {lam:g} {weights:.1%} of the weights, in {units} hidden units")
    alt = f"Prices of the first layer's weights, a tile for each hidden unit. Not yet half given up are {words}"
    return artefacts.figure("explorer-prices", figure, caption, alt, rows, runs)


def table(rows: pd.DataFrame) -> Styler:
    """The surface at the paper's lambdas: a row for each share of removed weights, a column for method and lambda."""
    few = rows[rows["lam"].round(6).isin(printed.LAMBDAS)]
    named = few.assign(method=few["method"].map("({})".format), lam=few["lam"].map("λ = {:g}".format))
    shown = named.pivot_table(values="accuracy", index="pruned_percent", columns=["method", "lam"], sort=False)
    return shown.rename_axis("% removed").rename_axis(columns=[None, None]).style.format("{:.3f}")
