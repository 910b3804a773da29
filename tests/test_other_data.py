"""Other digits, other networks, other lambdas: the same chapters, and no comparison where none makes sense."""

import gzip

import numpy as np
import pytest
import torch

from ccbook import chapters, perform
from ccbook.book import formats, plots, run_pages
from ccbook.machine import download
from ccbook.machine.idx import FILES
from ccbook.records import history
from ccbook.records.run import read
from tests.helpers import ccbook, ended, write_idx


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


@pytest.mark.parametrize(("number", "hidden"), [
    (2, [300, 100]),
    pytest.param(47, [300, 100], marks=pytest.mark.deep),
    pytest.param(250, [100], marks=pytest.mark.deep),
])  # fmt: skip
def test_two_to_hundreds_of_classes_are_learnt(classes, given, number, hidden):
    place = classes(number)
    changes = {"dataset": place, "hidden": hidden, "lambdas": [1e-3], "seeds": [0], "epochs": 20}
    run = perform.perform("a_direct", given | changes | {"profile": "paper", "batch_size": 50, "learning_rate": 2e-3})
    assert run.posterior.mean[f"W{1 + len(hidden)}"].shape == (1, 100, number)
    assert run.metrics["accuracy"].item() > 0.9
    assert "No comparison with the paper" in run_pages.page(run, None)
    assert formats.mark(run) == ""


@pytest.mark.parametrize("method", ["c", "d", "e", "f"])
def test_every_method_takes_another_network_and_other_digits(classes, method):
    place = classes(7, size=5)
    starts = {"d": "c", "f": "e"}
    words = ["--set", f"dataset={place}", "hidden=6,5,4", "lambdas=1e-3,0.5,1e3", "profile=quick"]
    for each in filter(None, [starts.get(method), method]):
        ended(ccbook("run", each, *words))
    run = history.find(f"{method}_")
    assert run.posterior.mean["W4"].shape == (3, 4, 7)
    assert run.metrics["lam"].tolist() == [1e-3, 0.5, 1e3]
    assert np.isfinite(run.metrics["evidence"]).all()
    assert plots.pruning_figure(run).axes


def test_each_lambda_has_a_colour_of_its_own():
    lambdas = [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 300]
    colours = list(plots.palette(lambdas).values())
    apart = [np.abs(np.subtract(a, b)).max() for k, a in enumerate(colours) for b in colours[:k]]
    assert min(apart) > 0.05


@pytest.mark.parametrize("name", ["FashionMNIST", "KMNIST"])
def test_the_other_named_datasets_go_the_same_way_as_mnist(name, digits, given, tmp_path, monkeypatch):
    """Made-up digits stand in for the fetched ones: sixty thousand are not needed to see the way."""
    (tmp_path / name).mkdir()
    for file, tensor in zip(FILES, digits, strict=True):
        array = tensor.byte().numpy()
        write_idx(tmp_path / name / file, array.reshape(-1, 5, 5) if "images" in file else array)
        with gzip.open(tmp_path / name / f"{file}.gz", "wb") as compressed:
            compressed.write((tmp_path / name / file).read_bytes())
        (tmp_path / name / file).write_text("beside the verified file")
    monkeypatch.setattr(download, "fetch", lambda dataset, fetching: tmp_path / dataset)
    run = perform.perform("a_direct", given | {"dataset": name, "hidden": [4], "lambdas": [1]})
    assert run.receipt["parameters"]["dataset"] == name
    assert history.changes(run.parameters)["dataset"] == name
    assert history.matching([run], {"dataset": name}) == [run]
    assert not history.is_books(run)
    assert name in run_pages.registry([run]).data


def test_optical_digits_need_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path))
    digits = download.load("OpticalDigits")
    assert digits.train_images.shape == (1_437, 64)
    assert digits.test_images.shape == (360, 64)
    assert (digits.train_images.min(), digits.train_images.max(), digits.classes) == (0, 255, 10)
    assert digits.train_labels.bincount().min() > 130  # all ten, about as often


def test_many_lambdas_are_one_run(folder):
    lambdas = np.geomspace(1e-3, 1e3, 30).tolist()
    few = {"profile": "quick", "dataset": str(folder), "lambdas": lambdas, "hidden": [3]}
    run = perform.perform("e_linear", chapters.defaults("e_linear") | few)
    assert len(run.metrics) == 30
    assert torch.isfinite(run.posterior.mean["W1"]).all()
    assert plots.pruning_figure(run).axes
    assert len(run_pages.metrics(run, None).split("<tr>")) == 2 + 30
    assert read(run.folder)
