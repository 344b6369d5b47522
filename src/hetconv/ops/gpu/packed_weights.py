"""Weights packed for the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.ops.gpu.configurations import rows_for
from hetconv.ops.gpu.rows import PackedRows
from hetconv.ops.gpu.support import why_not
from hetconv.pattern import HetPattern

BLOCK = 1024


def pack_weights(
    weight_spatial: Tensor, weight_pointwise: Tensor, pattern: HetPattern, rows: PackedRows, exchanged: bool = False
) -> Tensor:
    """The layer's weights in rows of filters, or with filters and channels exchanged in rows of channels.

    Args:
        weight_spatial: (N, M/P, K, K), in any memory
        weight_pointwise: (N, M − M/P)
        rows: of the product that reads them: exchanged too, if `exchanged`

    Returns:
        (rows.out_channels, rows.row), in blocked order
    """
    from hetconv.ops.gpu.kernels.pack import pack

    packed = weight_spatial.new_empty((rows.out_channels, rows.row))
    pack[(-(-packed.numel() // BLOCK),)](
        weight_spatial,
        weight_pointwise.contiguous(),
        packed,
        pattern.in_channels,
        pattern.out_channels,
        pattern.p,
        rows.merge,
        rows.columns,
        rows.row,
        packed.numel(),
        *weight_spatial.stride(),
        KERNEL_HEIGHT=pattern.kernel_hw[0],
        KERNEL_WIDTH=pattern.kernel_hw[1],
        SHIFTED=pattern.arrangement == "shifted",
        EXCHANGED=exchanged,
        BLOCK=BLOCK,
    )
    return packed


def pack_for_inference(weight_spatial: Tensor, weight_pointwise: Tensor, pattern: HetPattern) -> Tensor:
    """The weights of a layer in the order in which every configuration reads them, for `het_conv2d_packed`.

    Raises:
        UsageError: the GPU kernels cannot run on these weights.
    """
    reason = why_not(weight_spatial, 0)
    if reason is not None:
        raise UsageError(f"weights cannot be packed: {reason}")
    rows = rows_for(pattern, weight_spatial.dtype)
    with torch.cuda.device_of(weight_spatial):
        return pack_weights(weight_spatial.detach(), weight_pointwise.detach(), pattern, rows)


def unpack_gradients(
    partial: Tensor, pattern: HetPattern, rows: PackedRows, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Gradients of the layer's weights from their sums over runs of pixels, added in order.

    Args:
        partial: (splits, N, rows.row), float32
    """
    from hetconv.ops.gpu.kernels.pack import unpack

    spatial = partial.new_empty(pattern.spatial_shape, dtype=dtype)
    pointwise = partial.new_empty(pattern.pointwise_shape, dtype=dtype)
    total = spatial.numel() + pointwise.numel()
    unpack[(-(-total // BLOCK),)](
        partial,
        spatial,
        pointwise,
        pattern.in_channels,
        pattern.out_channels,
        pattern.p,
        rows.merge,
        rows.columns,
        rows.row,
        partial.shape[0],
        partial.stride(0),
        spatial.numel(),
        total,
        KERNEL_HEIGHT=pattern.kernel_hw[0],
        KERNEL_WIDTH=pattern.kernel_hw[1],
        SHIFTED=pattern.arrangement == "shifted",
        BLOCK=BLOCK,
    )
    return spatial, pointwise
