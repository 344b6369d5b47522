"""The images that ranges are taken from, and those that accuracy is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.runtimes import Session
from hetconv.runtimes.session import Array

CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class TestImages:
    """Images (n, C, H, W) and their labels (n)."""

    images: Array
    labels: Tensor

    __test__ = False  # not a test, whatever its name says to pytest

    @classmethod
    def of(cls, batches: Iterable[tuple[Tensor, Tensor]]) -> TestImages:
        """Put batches of (images, labels) together.

        Raises:
            UsageError: there are none, or images and labels do not belong together.
        """
        pairs = [(batch[0], batch[1]) for batch in batches]
        if not pairs:
            raise UsageError("test has no images; without them the accuracy would not be known")
        images, labels = (torch.cat([pair[index] for pair in pairs]) for index in (0, 1))
        if labels.dim() != 1 or len(labels) != len(images):
            raise UsageError(
                f"test has images {tuple(images.shape)} and labels {tuple(labels.shape)}; labels must be one class "
                f"number an image"
            )
        return cls(as_images("test", images), labels)

    def classes(self, session: Session, batch_size: int = 64) -> Tensor:
        """The class that a network gives each image."""
        outputs = [session(self.images[at : at + batch_size]) for at in range(0, len(self.images), batch_size)]
        return torch.from_numpy(np.concatenate(outputs)).argmax(1)

    def accuracy(self, classes: Tensor) -> float:
        return float((classes == self.labels).float().mean())


def as_images(argument: str, images: Tensor) -> Array:
    """Images as the runtimes take them.

    Raises:
        UsageError: it is no batch of float images.
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or len(images) == 0 or not images.is_floating_point():
        got = f"{tuple(images.shape)} of {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(f"{argument}={got} must be images (n, channels, height, width) in floating point, n ≥ 1")
    return np.ascontiguousarray(images.detach().cpu().float().numpy())


def calibration_batches(images: Array) -> Iterator[Array]:
    for at in range(0, len(images), CALIBRATION_BATCH):
        yield images[at : at + CALIBRATION_BATCH]
