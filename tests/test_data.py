import gzip
import os
import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch

from complexity_control import data
from complexity_control.data import DataError

from .conftest import write_idx


def test_mnist_is_60000_and_10000_digits_of_28_by_28():
    digits = data.load("MNIST")
    assert digits.train_images.shape == (60_000, 784)
    assert digits.test_images.shape == (10_000, 784)
    assert digits.classes == 10
    # counts and mean that are published with the set
    assert digits.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert digits.train_images.double().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_bytes_are_scaled_to_minus_one_and_one():
    assert data.scale(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_a_folder_of_ones_own_is_read_plain_or_compressed(folder, digits):
    plain = data.load(str(folder))
    for path in folder.iterdir():
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    for ours, expected, compressed in zip(plain, digits, data.load(str(folder)), strict=True):
        assert torch.equal(ours, expected)
        assert torch.equal(compressed, expected)


def test_the_first_digits_are_taken(folder, digits):
    few = data.load(str(folder), train=20, test=10)
    assert torch.equal(few.train_images, digits.train_images[:20])
    assert torch.equal(few.test_labels, digits.test_labels[:10])
    assert few.checksum != digits.checksum


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("train-labels-idx1-ubyte", np.zeros(7, np.uint8), "200 train images but 7 labels"),
        ("t10k-labels-idx1-ubyte", np.zeros((100, 2), np.uint8), r"must be \[N, height, width\]"),
        ("t10k-images-idx3-ubyte", np.zeros((100, 6, 5), np.uint8), "of one size"),
        ("train-images-idx3-ubyte", np.zeros((0, 5, 5), np.uint8), "0 train images"),
    ],
)
def test_a_set_of_the_wrong_shape_is_refused(folder, name, array, reason):
    write_idx(folder / name, array)
    with pytest.raises(DataError, match=reason):
        data.load(str(folder))


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:3], lambda b: b"", lambda b: b"\1" + b[1:]])
def test_a_damaged_file_is_named(folder, damage):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is no whole IDX file"):
        data.load(str(folder))


def test_a_damaged_compressed_file_is_named(folder):
    path = folder / "train-images-idx3-ubyte"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-9])
    path.unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz can't be read"):
        data.load(str(folder))


def test_a_missing_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="neither t10k-labels-idx1-ubyte nor"):
        data.load(str(folder))


def test_a_mistyped_name_gets_the_right_one():
    with pytest.raises(DataError, match="did you mean 'FashionMNIST'"):
        data.load("fashion-mnist")


def test_without_a_network_one_error_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(dataset, temporary):
        raise URLError("no route to host")

    monkeypatch.setattr(data, "_from_mirrors", unreachable)
    monkeypatch.setattr(data, "_from_wheel", unreachable)
    with pytest.raises(DataError, match=r"no route to host.*put train-images-idx3-ubyte, .*CCBOOK_DATA"):
        data.load("MNIST", cache=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")]


def test_a_download_with_a_wrong_checksum_is_not_kept(tmp_path, monkeypatch):
    def wrong(dataset, temporary):
        for name in data.FILES:
            (temporary / name).write_bytes(b"not digits")
            yield temporary / name

    monkeypatch.setattr(data, "_from_mirrors", wrong)
    monkeypatch.setattr(data, "_from_wheel", wrong)
    with pytest.raises(DataError, match="came with a wrong checksum"):
        data.load("MNIST", cache=tmp_path)
    assert not list((tmp_path / "MNIST").iterdir())


def test_two_processes_fetch_at_once_over_a_corrupt_file(tmp_path):
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / data.FILES[0]).write_bytes(b"half a file")
    code = "from complexity_control import data; data.fetch('MNIST')"
    environment = os.environ | {"CCBOOK_DATA": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert data.load("MNIST", cache=tmp_path).checksum == data.load("MNIST").checksum
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]
