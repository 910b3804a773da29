"""Digits as tensors: images and labels to train and to test on."""

from typing import NamedTuple

import torch
from torch import Tensor


class Digits(NamedTuple):
    """Images and labels. Images are bytes, so that they stay small; `scale` makes floats of a minibatch."""

    train_images: Tensor  # [N, pixels] uint8
    train_labels: Tensor  # [N] int64, 0 ... classes - 1
    test_images: Tensor
    test_labels: Tensor

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest label."""
        return int(torch.cat([self.train_labels, self.test_labels]).max()) + 1


def scale(images: Tensor) -> Tensor:
    """Bytes 0 ... 255 to floats in [-1, 1]; floats are taken as they are."""
    return images if images.is_floating_point() else images.float().div_(127.5).sub_(1)
