"""What the lambda explorer computes with in the browser, and its accuracy surface computed here."""

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from complexity_control.data import Digits
from complexity_control.experiment import method_of
from complexity_control.objective import kl
from complexity_control.parameters import Hypernetwork
from complexity_control.posterior import Posterior
from complexity_control.pruning import accuracy, prune
from complexity_control.runs import Run

METHODS = {"c": "low_rank", "e": "linear"}
CODES = 2**16 - 1
SAMPLE = 1_000  # test digits in the page; its accuracy is a multiple of 0.1%
FIT = 300  # training digits, for the evidence; more would make a move of the slider slow
LAMBDAS = 10 ** np.linspace(-1, 2, 13)  # four to a decade
PERCENTS = [*range(0, 100, 10), 95, 99]


def generated(run: Run, lambdas: list[float]) -> Posterior:
    """The posteriors that a hypernetwork's run gives by its first seed for any lambdas, one a row.

    Raises: ValueError if the run is of no hypernetwork.
    """
    if not isinstance(run.parameters, Hypernetwork):
        raise ValueError(
            f"run {run.id} is of method ({run.parameters.method}), which has no hypernetwork; name one of c, e"
        )
    params = {name: tensor[:1] for name, tensor in run.hypernetwork.items()}
    return method_of(run.parameters).posterior(params, torch.tensor([lambdas]))


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


def write(folder: Path, runs: Mapping[str, Run], digits: Digits) -> None:
    """Write the page's data as scripts, since a page opened from a disk may load nothing else.

    A hypernetwork's parameters, first seed, go in 16 bits: evenly spaced steps over each tensor's range, because the
    half-precision float has ten times larger steps where the weights lie, and weights would be removed in another
    order. Of the digits go the first `SAMPLE` of the test set and `FIT` of the training set. Each script calls
    `explorer.receive(name, description, base64 of gzipped bytes)`.

    Raises: ValueError if a network has more than one hidden layer, which the page can't compute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for letter, name in METHODS.items():
        p = runs[letter].parameters
        assert isinstance(p, Hypernetwork)
        if len(p.hidden) != 1:
            raise ValueError(
                f"run {runs[letter].id} has hidden = {list(p.hidden)}; the explorer computes one hidden layer"
            )
        tensors = {tensor: values[0].numpy() for tensor, values in runs[letter].hypernetwork.items()}
        about = {
            "run": runs[letter].id,
            "seed": p.seeds[0],
            "feed": p.feed,
            "prior_std": p.prior_std,
            "train": runs[letter].receipt["data"]["train"],
            "tensors": [_range(tensor, values) for tensor, values in tensors.items()],
        }
        _script(folder, name, about, b"".join(_codes(values) for values in tensors.values()))
    counts = (FIT, FIT, SAMPLE, SAMPLE)
    samples = [tensor[:n].numpy().astype(np.uint8) for tensor, n in zip(digits, counts, strict=True)]
    about = {"digits": [len(labels) for labels in samples[1::2]], "pixels": samples[0].shape[1]}
    _script(folder, "digits", about, b"".join(sample.tobytes() for sample in samples))


def _range(name: str, values: np.ndarray) -> dict[str, Any]:
    """Where a tensor's codes begin, and how far they lie apart."""
    low, high = float(values.min()), float(values.max())
    return {"name": name, "shape": values.shape, "low": low, "step": (high - low) / CODES or 1.0}


def _codes(values: np.ndarray) -> bytes:
    place = _range("", values)
    return ((values.astype(np.float64) - place["low"]) / place["step"]).round().astype("<u2").tobytes()


def _script(folder: Path, name: str, about: dict[str, Any], content: bytes) -> None:
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()  # no time: the same data give the same file
    (folder / f"{name}.js").write_text(f'explorer.receive("{name}", {json.dumps(about)}, "{packed}");\n')
