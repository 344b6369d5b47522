"""What a layer sees at some pixels of its output."""

from __future__ import annotations

import torch
from torch import Tensor

from hetconv.adaptation.refitted_layers import LinearLayer


def sample_patches(
    layer: LinearLayer, x: Tensor, target: Tensor, per_image: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The input under the kernel, and the wanted output, at pixels drawn at random, the same number of each image.

    Args:
        x: (B, M, H, W)
        target: (B, N, H', W')
        per_image: at most so many pixels of each image; no pixel comes twice.

    Returns:
        patches (n, K², M), targets (n, N)
    """
    batch, _, height, width = target.shape
    pixels = height * width
    drawn = torch.rand(batch, pixels, generator=generator).argsort(1)[:, :per_image].to(x.device)
    image = torch.arange(batch, device=x.device)[:, None].expand_as(drawn).reshape(-1)
    row, column = (drawn // width).reshape(-1), (drawn % width).reshape(-1)
    rows, columns = (
        start[:, None] * stride + torch.arange(size, device=x.device) * dilation
        for start, stride, size, dilation in zip(
            (row, column), layer.where.stride, layer.pattern.kernel_hw, layer.where.dilation, strict=True
        )
    )
    channels_last = layer.padded(x).permute(0, 2, 3, 1)
    patches = channels_last[image[:, None, None], rows[:, :, None], columns[:, None, :]]
    return patches.flatten(1, 2), target.permute(0, 2, 3, 1)[image, row, column]
