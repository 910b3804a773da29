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
from complexity_control.methods.tempered import SPEED


def made(chapter: str, folder: Path, **changes: object) -> Run:
    few = {"profile": "quick", "dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0], "hidden": [6], "epochs": 1}
    return perform.perform(chapter, chapters.defaults(chapter) | few | changes)


@pytest.fixture
def runs(folder) -> dict[str, Run]:
    """Of each hypernetwork, and of (a)."""
    return {letter: made(chapters.METHODS[letter].name, folder) for letter in (explorer.BESIDE, *explorer.METHODS)}


def test_the_posterior_generated_later_is_the_one_on_record(runs):
    for run in (runs[letter] for letter in explorer.METHODS):
        q = explorer.generated(run, [0.1, 10.0])
        recorded = run.posterior.mean
        assert q.mean.keys() == recorded.keys()
        for name, ours in q.mean.items():
            torch.testing.assert_close(ours, recorded[name])


def test_the_surface_starts_at_the_accuracies_on_record(runs, folder):
    rows = explorer.surface(runs, download.load(str(folder), "cpu"))
    surface = rows.set_index(["method", "lam", "pruned_percent"])["accuracy"]
    for method in explorer.METHODS:
        recorded = runs[method].curves.set_index(["lam", "pruned_percent"])["accuracy"]
        for percent in (0, 50, 90):
            assert surface[method].loc[10.0, percent].item() == pytest.approx(recorded[10.0, percent])


@pytest.mark.parametrize("letter", ["a", "e"])
def test_a_script_holds_the_parameters_to_half_a_step(runs, folder, tmp_path, letter):
    explorer.write_scripts(tmp_path, runs, download.load(str(folder), "cpu"))
    name, run = chapters.METHODS[letter].function, runs[letter]
    script = (tmp_path / f"{name}.js").read_text().removeprefix("explorer.receive(").removesuffix(");\n")
    read, about, packed = json.loads(f"[{script}]")
    codes = np.frombuffer(gzip.decompress(base64.b64decode(packed)), "<u2").astype(float)
    assert (read, about["run"], about["lambdas"]) == (name, run.id, [0.1, 10] if letter == "a" else [])
    for tensor in about["tensors"]:
        if letter == "a":  # of one seed, the posteriors are in the order of the lambdas
            place, part, which = tensor["name"].split(".")
            recorded = getattr(run.posterior, part)[which][int(place)]
        else:
            recorded = run.hypernetwork[tensor["name"]][0]
        recorded = recorded.numpy().ravel()
        decoded = tensor["low"] + tensor["step"] * codes[: recorded.size]
        codes = codes[recorded.size :]
        assert np.abs(decoded - recorded).max() <= 0.51 * tensor["step"]
    assert codes.size == 0


def test_two_hidden_layers_are_refused(folder, tmp_path):
    deep = {
        letter: made(chapters.METHODS[letter].name, folder, hidden=[4, 4])
        for letter in (explorer.BESIDE, *explorer.METHODS)
    }
    with pytest.raises(ValueError, match="the explorer computes one hidden layer"):
        explorer.write_scripts(tmp_path, deep, download.load(str(folder), "cpu"))


def test_a_weight_of_one_m_and_no_polynomials_has_its_own_price(folder):
    """Then s = sigmoid(a - ln lambda) is half at lambda = e^a, to the fineness of the grid."""
    run = made("g_tempered", folder, degree=0, mean_degree=0)
    price = np.exp(SPEED * run.hypernetwork["W1.a"][0].double().numpy())
    found, step = explorer.prices(run), explorer.FINE[1] / explorer.FINE[0]
    assert ((found <= price * 1.001) & (price < found * step * 1.001)).all()
    assert explorer.price_map(run, [run]).plain["text/plain"].startswith("Prices")
