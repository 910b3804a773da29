"""Other digits, other networks, other lambdas: the same chapters, and no comparison where none makes sense."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from complexity_control import data, experiment, figures, pages, registry, runs, tables
from complexity_control.cli import main
from complexity_control.data import FILES
from tests.conftest import write_idx
from tests.test_cli import ended


@pytest.fixture
def classes(tmp_path):
    """A folder of images in so many classes, told apart by which pixels are lit."""

    def made(number: int, size: int = 16) -> str:
        place = tmp_path / f"{number} classes"
        place.mkdir()
        generator = np.random.default_rng(0)
        lit = generator.integers(0, 2, (number, size, size)) * 255
        for what, count in (("train", 6 * number), ("t10k", 2 * number)):
            labels = np.arange(count) % number
            noise = generator.integers(-40, 40, (count, size, size))
            images = np.clip(lit[labels] + noise, 0, 255)
            names = [name for name in FILES if name.startswith(what)]
            write_idx(place / names[0], images.astype(np.uint8))
            write_idx(place / names[1], labels.astype(np.uint8))
        return str(place)

    return made


@pytest.mark.parametrize(("number", "hidden"), [(2, [300, 100]), (47, [300, 100]), (250, [100])])
def test_two_to_hundreds_of_classes_are_learnt(classes, given, number, hidden):
    place = classes(number)
    changes = {"dataset": place, "hidden": hidden, "lambdas": [1e-3], "seeds": [0], "epochs": 20}
    run = experiment.perform(
        "a_direct", given | changes | {"profile": "paper", "batch_size": 50, "learning_rate": 2e-3}
    )
    assert run.posterior.mean[f"W{1 + len(hidden)}"].shape == (1, 100, number)
    assert run.metrics["accuracy"].item() > 0.9
    assert "No comparison with the paper" in pages.page(run, None)
    assert tables.mark(run) == ""


@pytest.mark.parametrize("method", ["c", "d", "e", "f"])
def test_every_method_takes_another_network_and_other_digits(classes, method):
    place = classes(7, size=5)
    starts = {"d": "c", "f": "e"}
    words = ["--set", f"dataset={place}", "hidden=6,5,4", "lambdas=1e-3,0.5,1e3", "profile=quick"]
    for each in filter(None, [starts.get(method), method]):
        ended(CliRunner().invoke(main, ["run", each, *words]))
    run = registry.find(f"{method}_")
    assert run.posterior.mean["W4"].shape == (3, 4, 7)
    assert run.metrics["lam"].tolist() == [1e-3, 0.5, 1e3]
    assert np.isfinite(run.metrics["evidence"]).all()
    assert figures.pruning_figure(run).axes


def test_each_lambda_has_a_colour_of_its_own():
    lambdas = [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 300]
    colours = list(figures.palette(lambdas).values())
    apart = [np.abs(np.subtract(a, b)).max() for k, a in enumerate(colours) for b in colours[:k]]
    assert min(apart) > 0.05


@pytest.mark.parametrize("name", ["FashionMNIST", "KMNIST"])
def test_the_other_named_datasets_go_the_same_way_as_mnist(name, digits, given, tmp_path, monkeypatch):
    """Made-up digits stand in for the fetched ones: sixty thousand are not needed to see the way."""
    (tmp_path / name).mkdir()
    for file, tensor in zip(FILES, digits, strict=True):
        array = tensor.byte().numpy()
        write_idx(tmp_path / name / file, array.reshape(-1, 5, 5) if "images" in file else array)
    monkeypatch.setattr(data, "fetch", lambda dataset, cache: tmp_path / dataset)
    run = experiment.perform("a_direct", given | {"dataset": name, "hidden": [4], "lambdas": [1]})
    assert run.receipt["parameters"]["dataset"] == name
    assert registry.changes(run.parameters)["dataset"] == name
    assert registry.matching([run], {"dataset": name}) == [run]
    assert not registry.is_books(run)
    assert name in pages.listed([run]).data


def test_many_lambdas_are_one_run(given, folder):
    lambdas = np.geomspace(1e-3, 1e3, 30).tolist()
    run = experiment.perform(
        "e_linear", given_for("e_linear") | {"dataset": str(folder), "lambdas": lambdas, "hidden": [3]}
    )
    assert len(run.metrics) == 30
    assert torch.isfinite(run.posterior.mean["W1"]).all()
    assert figures.pruning_figure(run).axes
    assert len(pages.metrics(run, None).split("<tr>")) == 2 + 30
    assert runs.find(run.folder)


def given_for(chapter: str) -> dict:
    return registry.given(chapter, {"profile": "quick"}, None)
