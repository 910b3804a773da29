"""Digits in files of the IDX format, as MNIST's are, and their checksum."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import torch

from complexity_control.digits import Digits

# the four files of a dataset: images and labels, to train and to test on
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class DataError(ValueError):
    """Data that are missing or can't be used; the message says what to do."""


def read(folder: Path, device: str = "cpu", train: int | None = None, test: int | None = None) -> Digits:
    """The digits of a folder with the four FILES in IDX format, plain or .gz.

    Args: train, test: how many of the first digits; all if None.
    Raises: DataError.
    """
    arrays = [_read(_existing(folder, name)) for name in FILES]
    _check_shapes(folder, arrays)
    counts = (train, train, test, test)
    flat = [torch.from_numpy(a[:n].reshape(len(a[:n]), -1)) for a, n in zip(arrays, counts, strict=True)]
    x, y, x_test, y_test = (t.to(device) for t in flat)
    return Digits(x, y.flatten().long(), x_test, y_test.flatten().long())


def _existing(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} has neither {name} nor {name}.gz; put the file there")


def _read(path: Path) -> np.ndarray:
    """A file in IDX format: two zero bytes, the type 8 (bytes), the number of axes, each axis' length, the data."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} can't be read ({error}); delete it, and fetch it or put it there again") from error
    start = 4 + 4 * content[3] if len(content) > 3 and content[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(content[4:start], ">u4") if 0 < start <= len(content) else None
    if shape is None or int(np.prod(shape, dtype=np.int64)) != len(content) - start:
        raise DataError(f"{path} is no whole IDX file of bytes; delete it, and fetch it or put it there again")
    return np.frombuffer(bytearray(content), np.uint8, offset=start).reshape(shape)


def _check_shapes(folder: Path, arrays: list[np.ndarray]) -> None:
    x, y, x_test, y_test = arrays
    if min(x.ndim, x_test.ndim) < 2 or max(y.ndim, y_test.ndim) > 1 or x.shape[1:] != x_test.shape[1:]:
        raise DataError(
            f"{folder} has {', '.join(f'{n} {a.shape}' for n, a in zip(FILES, arrays, strict=True))}; images must be "
            "[N, height, width], of one size, and labels [N]"
        )
    for what, images, labels in (("train", x, y), ("t10k", x_test, y_test)):
        if len(images) != len(labels) or len(images) == 0:
            raise DataError(f"{folder} has {len(images)} {what} images but {len(labels)} labels; each image needs one")


def fingerprint(digits: Digits) -> str:
    """sha256 of everything that a training or a test uses."""
    digest = hashlib.sha256()
    for tensor in digits:
        digest.update(str(tuple(tensor.shape)).encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
