"""Digits in files of the IDX format, as MNIST's are, and their checksum."""

import gzip
import hashlib
import math
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from complexity_control.digits import Digits

# the four files of a dataset: images and labels, to train and to test on
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MOST_AXES, LARGEST = 4, 2**32  # of a file: images in colours have four; bytes
PART = 2**24  # bytes read at a time: a wrong header may promise more than there is memory for


class DataError(ValueError):
    """Data that are missing or can't be used; the message says what to do."""


def read(folder: Path, device: str = "cpu", train: int | None = None, test: int | None = None,
         names: Sequence[str] = FILES) -> Digits:  # fmt: skip
    """The digits of a folder with the four FILES in IDX format, plain or .gz.

    Args: train, test: how many of the first digits; all if None. names, of the four files, where others may lie beside
        them that aren't to be read.
    Raises: DataError.
    """
    arrays = [_read(_existing(folder, name)) for name in names]
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
    remedy = "delete it, and fetch it or put it there again"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(4)
            axes = start[3] if len(start) == 4 and start[:3] == b"\0\0\x08" else 0
            shape = np.frombuffer(file.read(4 * axes), ">u4").tolist() if 0 < axes <= MOST_AXES else []
            size = math.prod(shape) if len(shape) == axes else LARGEST
            # no more than the header says: a small compressed file may hold any number of bytes
            content = bytearray()
            while size < LARGEST and (part := file.read(min(PART, size + 1 - len(content)))):
                content += part
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} can't be read ({error}); {remedy}") from error
    if not shape or len(content) != size:
        raise DataError(f"{path} is no whole IDX file of bytes, of at most {LARGEST / 1e9:.0f} GB; {remedy}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _check_shapes(folder: Path, arrays: list[np.ndarray]) -> None:
    x, y, x_test, y_test = arrays
    if not min(x.ndim, x_test.ndim) > 1 == y.ndim == y_test.ndim or x.shape[1:] != x_test.shape[1:] or 0 in x.shape[1:]:
        raise DataError(
            f"{folder} has {', '.join(f'{n} {a.shape}' for n, a in zip(FILES, arrays, strict=True))}; images must be "
            "[N, height, width], of one size that isn't 0, and labels [N]"
        )
    for what, images, labels in (("train", x, y), ("t10k", x_test, y_test)):
        if len(images) != len(labels) or len(images) == 0:
            raise DataError(f"{folder} has {len(images)} {what} images but {len(labels)} labels; each image needs one")


@lru_cache(maxsize=1)  # a list of many runs asks for the same digits again and again
def fingerprint(digits: Digits) -> str:
    """sha256 of everything that a training or a test uses."""
    digest = hashlib.sha256()
    for tensor in digits:
        digest.update(str(tuple(tensor.shape)).encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
