"""Tensors as the kernels want them: channels adjacent, and those of a part one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 1024


def blocked(x: Tensor, p: int, shifted: bool) -> Tensor:
    """x (B, C, H, W) with adjacent channels in blocked order: itself, or a copy."""
    if x.stride(1) != 1 and x.shape[1] != 1:
        if not shifted or p in (1, x.shape[1]):
            return x.contiguous(memory_format=torch.channels_last)
    elif not shifted or p in (1, x.shape[1]):
        return x
    from hetconv.ops.gpu.kernels.reorder import to_blocked

    batch, channels, height, width = x.shape
    y = x.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)
    if y.numel():
        strides = (x.stride(0), x.stride(1), x.stride(2), x.stride(3))
        to_blocked[(-(-y.numel() // BLOCK),)](x, y, height, width, channels, p, *strides, y.numel(), BLOCK)
    return y
