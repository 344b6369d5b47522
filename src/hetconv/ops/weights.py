"""The layer's two weight tensors as one dense kernel, and back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hetconv.pattern import HetPattern


@lru_cache(maxsize=256)
def _channel_arrays(pattern: HetPattern) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    parts = [pattern.part_of_filter(n) for n in range(pattern.out_channels)]
    spatial = np.array([pattern.channels_of_part(part) for part in range(pattern.p)], dtype=np.int64)
    pointwise = np.array([pattern.channels_outside_part(part) for part in range(pattern.p)], dtype=np.int64)
    return spatial[parts], pointwise[parts]


def channel_tables(pattern: HetPattern, device: torch.device) -> tuple[Tensor, Tensor]:
    """The channels of each filter's K×K kernels (N, M/P) and of its 1×1 kernels (N, M − M/P)."""
    spatial, pointwise = _channel_arrays(pattern)
    return torch.from_numpy(spatial).to(device), torch.from_numpy(pointwise).to(device)


def to_dense_weight(weight_spatial: Tensor, weight_pointwise: Tensor, pattern: HetPattern) -> Tensor:
    """The zero-masked dense kernel that computes the same; differentiable.

    Returns:
        (N, M, K, K)
    """
    spatial, pointwise = channel_tables(pattern, weight_spatial.device)
    out_channels, in_channels, (height, width) = pattern.out_channels, pattern.in_channels, pattern.kernel_hw
    taps = height * width
    index = spatial[:, :, None].expand(-1, -1, taps)
    dense = weight_spatial.new_zeros(out_channels, in_channels, taps).scatter(1, index, weight_spatial.flatten(2))
    centre = weight_pointwise.new_zeros(out_channels, in_channels).scatter(1, pointwise, weight_pointwise)
    dense = dense + torch.nn.functional.pad(centre[:, :, None], (taps // 2, taps // 2))
    return dense.reshape(out_channels, in_channels, height, width)


def from_dense_weight(weight: Tensor, pattern: HetPattern) -> tuple[Tensor, Tensor]:
    """What the pattern keeps of a dense kernel (N, M, K, K); the 1×1 kernels are its centre taps.

    Returns:
        weight_spatial (N, M/P, K, K), weight_pointwise (N, M − M/P)
    """
    spatial, pointwise = channel_tables(pattern, weight.device)
    flat = weight.flatten(2)
    taps = flat.shape[2]
    kept = flat.gather(1, spatial[:, :, None].expand(-1, -1, taps))
    return kept.unflatten(2, pattern.kernel_hw), flat[:, :, taps // 2].gather(1, pointwise)
