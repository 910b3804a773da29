"""The explorer's data and surface, from runs of hypernetworks."""

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ccbook import chapters, perform
from ccbook.book import explorer
from ccbook.machine import download
from ccbook.records.run import Run


def made(chapter: str, folder: Path, **changes: object) -> Run:
    few = {"profile": "quick", "dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0], "hidden": [6], "epochs": 1}
    return perform.perform(chapter, chapters.defaults(chapter) | few | changes)


@pytest.fixture
def hypernetworks(folder) -> dict[str, Run]:
    return {
        letter: made(chapter.name, folder) for letter, chapter in chapters.METHODS.items() if letter in explorer.METHODS
    }


def test_the_posterior_generated_later_is_the_one_on_record(hypernetworks):
    for run in hypernetworks.values():
        q = explorer.generated(run, [0.1, 10.0])
        for ours, recorded in zip(q.mean.values(), run.posterior.mean.values(), strict=True):
            torch.testing.assert_close(ours, recorded)


def test_a_run_without_a_hypernetwork_is_refused(folder):
    with pytest.raises(ValueError, match="has no hypernetwork"):
        explorer.generated(made("a_direct", folder), [1.0])


def test_the_surface_starts_at_the_accuracies_on_record(hypernetworks, folder):
    rows = explorer.surface(hypernetworks, download.load(str(folder), "cpu"))
    surface = rows.set_index(["method", "lam", "pruned_percent"])["accuracy"]
    for method, run in hypernetworks.items():
        recorded = run.curves.set_index(["lam", "pruned_percent"])["accuracy"]
        for percent in (0, 50, 90):
            assert surface[method].loc[10.0, percent].item() == pytest.approx(recorded[10.0, percent])


def test_a_script_holds_the_parameters_to_half_a_step(hypernetworks, folder, tmp_path):
    explorer.write_scripts(tmp_path, hypernetworks, download.load(str(folder), "cpu"))
    script = (tmp_path / "linear.js").read_text().removeprefix("explorer.receive(").removesuffix(");\n")
    name, about, packed = json.loads(f"[{script}]")
    codes = np.frombuffer(gzip.decompress(base64.b64decode(packed)), "<u2").astype(float)
    assert (name, about["run"]) == ("linear", hypernetworks["e"].id)
    for tensor in about["tensors"]:
        recorded = hypernetworks["e"].hypernetwork[tensor["name"]][0].numpy().ravel()
        decoded = tensor["low"] + tensor["step"] * codes[: recorded.size]
        codes = codes[recorded.size :]
        assert np.abs(decoded - recorded).max() <= 0.51 * tensor["step"]
    assert codes.size == 0


def test_two_hidden_layers_are_refused(folder, tmp_path):
    deep = {letter: made(chapters.METHODS[letter].name, folder, hidden=[4, 4]) for letter in explorer.METHODS}
    with pytest.raises(ValueError, match="the explorer computes one hidden layer"):
        explorer.write_scripts(tmp_path, deep, download.load(str(folder), "cpu"))


def test_a_weight_of_no_slope_and_no_polynomials_has_its_own_price(folder):
    """Then s = sigmoid(a - ln lambda) is half at lambda = e^a, to the fineness of the grid."""
    run = made("g_tempered", folder, degree=0, slope=False)
    price = np.exp(5 * run.hypernetwork["W1.a"][0].double().numpy())
    found, step = explorer.prices(run), explorer.FINE[1] / explorer.FINE[0]
    assert ((found <= price * 1.001) & (price < found * step * 1.001)).all()
    assert explorer.price_map(run, [run]).plain["text/plain"].startswith("Prices")
