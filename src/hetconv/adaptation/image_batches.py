"""The images that a network is refitted on: in batches, some of them held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hetconv.errors import UsageError

BATCH_PIXELS = 2**19
"""A batch of activations is what takes memory: 512 images of 32×32, 10 of 224×224."""
HELD_OUT = 8
"""One of so many batches is held out."""


@dataclass(frozen=True)
class ImageBatches:
    """Batches to fit on, and others to choose by."""

    fitted: tuple[Tensor, ...]
    held_out: tuple[Tensor, ...]

    @classmethod
    def of(cls, images: Tensor | Sequence[Tensor]) -> ImageBatches:
        """Split one tensor (B, C, H, W), or batches of several sizes, in a fixed random order.

        Raises:
            UsageError: there are fewer than two images, or they are no tensors of four dimensions.
        """
        batches = _batches(images)
        if len(batches) < 2:
            raise UsageError(
                f"images: {len(batches)} is too few, since some are held out to choose by; give hundreds, at least 2"
            )
        order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(0)).tolist()
        apart = max(1, len(batches) // HELD_OUT)
        return cls(tuple(batches[i] for i in order[apart:]), tuple(batches[i] for i in order[:apart]))

    @property
    def fitted_images(self) -> int:
        return sum(map(len, self.fitted))

    @property
    def held_out_images(self) -> int:
        return sum(map(len, self.held_out))


def _batches(images: Tensor | Sequence[Tensor]) -> list[Tensor]:
    given = [images] if isinstance(images, Tensor) else list(images)
    for batch in given:
        if not isinstance(batch, Tensor) or batch.dim() != 4 or not batch.is_floating_point():
            raise UsageError("images must be one float tensor (B, C, H, W), or a list of such")
        if not batch.isfinite().all():
            raise UsageError("images hold values that are not finite; leave those images out")
    if len(given) > 1:
        return [batch for batch in given if len(batch)]
    whole = given[0][torch.randperm(len(given[0]), generator=torch.Generator().manual_seed(0))]
    size = min(max(1, BATCH_PIXELS // (whole.shape[2] * whole.shape[3])), max(1, len(whole) // HELD_OUT))
    return list(whole.split(size)) if len(whole) else []
