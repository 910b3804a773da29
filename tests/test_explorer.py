import base64
import gzip
import json

import numpy as np
import pytest
import torch

from complexity_control import data, experiment, explorer, parameters


def made(chapter: str, folder, **changes):
    few = {"profile": "quick", "dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0], "hidden": [6], "epochs": 1}
    return experiment.perform(chapter, parameters.defaults(chapter) | few | changes)


@pytest.fixture
def on_record(folder) -> dict:
    return {"c": made("c_low_rank", folder), "e": made("e_linear", folder)}


def test_the_posterior_generated_later_is_the_one_on_record(on_record):
    for run in on_record.values():
        q = explorer.generated(run, [0.1, 10.0])
        for ours, recorded in zip(q.mean.values(), run.posterior.mean.values(), strict=True):
            torch.testing.assert_close(ours, recorded)


def test_a_run_without_a_hypernetwork_is_refused(folder):
    with pytest.raises(ValueError, match="has no hypernetwork"):
        explorer.generated(made("a_direct", folder), [1.0])


def test_the_surface_starts_at_the_accuracies_on_record(on_record, folder):
    digits = data.load(str(folder), "cpu")
    surface = explorer.surface(on_record, digits).set_index(["method", "lam", "pruned_percent"])["accuracy"]
    for method, run in on_record.items():
        recorded = run.curves.set_index(["lam", "pruned_percent"])["accuracy"]
        for percent in (0, 50, 90):
            assert surface[method].loc[10.0, percent].item() == pytest.approx(recorded[10.0, percent])


def test_a_script_holds_the_parameters_to_half_a_step(on_record, folder, tmp_path):
    explorer.write(tmp_path, on_record, data.load(str(folder), "cpu"))
    script = (tmp_path / "linear.js").read_text().removeprefix("explorer.receive(").removesuffix(");\n")
    name, about, packed = json.loads(f"[{script}]")
    codes = np.frombuffer(gzip.decompress(base64.b64decode(packed)), "<u2").astype(float)
    assert name == "linear"
    for tensor in about["tensors"]:
        recorded = on_record["e"].hypernetwork[tensor["name"]][0].numpy().ravel()
        read = tensor["low"] + tensor["step"] * codes[: recorded.size]
        codes = codes[recorded.size :]
        assert np.abs(read - recorded).max() <= 0.51 * tensor["step"]
    assert codes.size == 0


def test_two_hidden_layers_are_refused(folder, tmp_path):
    runs = {
        letter: made(chapter, folder, hidden=[4, 4]) for letter, chapter in (("c", "c_low_rank"), ("e", "e_linear"))
    }
    with pytest.raises(ValueError, match="the explorer computes one hidden layer"):
        explorer.write(tmp_path, runs, data.load(str(folder), "cpu"))
