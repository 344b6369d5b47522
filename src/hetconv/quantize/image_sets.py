"""The images that ranges are taken from, and those that accuracy is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.runtimes import Session
from hetconv.runtimes.session import Array

CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class TestImages:
    """Images (n, C, H, W) and what is right of each: its class (n), a class for each pixel (n, H', W'), or None."""

    images: Array
    labels: Tensor | None

    __test__ = False  # not a test, whatever its name says to pytest

    @classmethod
    def of(cls, batches: Iterable[Any]) -> TestImages:
        """Put batches together: images alone, (images, labels), or a dict that holds these.

        Raises:
            UsageError: there are none, or images and labels do not belong together.
        """
        pairs = [_pair(batch) for batch in batches]
        if not pairs:
            raise UsageError("test has no images; without them what quantization costs would not be known")
        images = torch.cat([image for image, _ in pairs])
        labels = [label for _, label in pairs if label is not None]
        if not labels:
            return cls(as_images("test", images), None)
        if len(labels) != len(pairs) or sum(map(len, labels)) != len(images):
            count = sum(map(len, labels))
            raise UsageError(f"test has {len(images)} images and {count} labels; it must have one label an image")
        return cls(as_images("test", images), torch.cat(labels))

    def outputs(self, session: Session, batch_size: int = 64) -> Array:
        """What a network gives for all images."""
        found = [session(self.images[at : at + batch_size]) for at in range(0, len(self.images), batch_size)]
        return np.concatenate(found)

    def why_no_accuracy(self, outputs: Array) -> str | None:
        """Why these outputs cannot be right or wrong; None if they can."""
        if self.labels is None:
            return "test has no labels"
        if self.labels.is_floating_point() or outputs.ndim < 2:
            return f"labels are {self.labels.dtype}, the network gives {outputs.shape}: it is no classifier"
        if tuple(self.labels.shape) != (len(outputs), *outputs.shape[2:]):
            return f"labels are {tuple(self.labels.shape)}, where {outputs.shape} has a class for each of other places"
        return None

    def accuracy(self, outputs: Array) -> float:
        """The share of right classes, of images or of pixels."""
        assert self.labels is not None
        return float((torch.from_numpy(outputs).argmax(1) == self.labels).float().mean())


def _pair(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Images and their labels, out of what loaders give."""
    if isinstance(batch, Mapping):
        return _pair_of_dict(batch)
    if isinstance(batch, tuple | list) and batch and isinstance(batch[0], Tensor):
        return batch[0], torch.as_tensor(batch[1]) if len(batch) > 1 else None
    if isinstance(batch, Tensor):
        return batch, None
    raise UsageError(f"test gives a {type(batch).__name__}; it must give images, (images, labels) or a dict of these")


def _pair_of_dict(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    images = [value for value in tensors.values() if value.dim() == 4 and value.is_floating_point()]
    labels = [value for value in tensors.values() if value.dim() >= 1 and not value.is_floating_point()]
    if len(images) != 1 or len(labels) > 1:
        kinds = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items()) or "no tensor"
        raise UsageError(
            f"test gives a dict of {kinds}, where images or labels are not the only ones of their kind; give pairs: "
            "((batch['images'], batch['labels']) for batch in loader)"
        )
    return images[0], labels[0] if labels else None


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
