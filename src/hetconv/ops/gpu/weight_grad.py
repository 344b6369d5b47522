"""The gradients of the weights on a GPU: partial sums over runs of pixels, then their sum in a fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

from hetconv.ops.arguments import Geometry
from hetconv.ops.gpu.configurations import WeightGradConfiguration, weight_grad_candidates
from hetconv.ops.gpu.image_layout import blocked
from hetconv.ops.gpu.packed_weights import unpack_gradients
from hetconv.ops.gpu.product import widen
from hetconv.ops.gpu.rows import PackedRows
from hetconv.ops.gpu.support import LARGEST, device_of, multiplication
from hetconv.ops.gpu.tuning import tuned
from hetconv.pattern import HetPattern

PROGRAMS_PER_PROCESSOR = 4
LEAST_STEPS = 8
"""A run of pixels has at least so many steps: writing its sum must not cost more than making it."""
ALIGNMENT = 8


def weight_grad(
    grad_output: Tensor,
    x: Tensor,
    pattern: HetPattern,
    where: Geometry,
    configuration: WeightGradConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """grad_output (B, N, H', W'), x (B, M, H, W) → gradients of weight_spatial and of weight_pointwise.

    The same bit by bit in every run: each sum is made in one order.

    Args:
        configuration: None for the fastest known for these sizes.
    """
    if configuration is None:
        configuration = tuned(
            ("weight_grad", pattern, where),
            x,
            weight_grad_candidates(pattern, x.dtype, multiplication(x.dtype), device_of(x.device)),
            lambda one: weight_grad(grad_output, x, pattern, where, one),
        )
    shifted = pattern.arrangement == "shifted"
    rows = PackedRows.of(pattern, configuration.merge, ALIGNMENT)
    if grad_output.numel() == 0:
        return x.new_zeros(pattern.spatial_shape), x.new_zeros(pattern.pointwise_shape)
    partial = _accumulate(
        blocked(grad_output, pattern.p, shifted), blocked(x, pattern.p, shifted), pattern, where, rows, configuration
    )
    return unpack_gradients(partial, pattern, rows, x.dtype)


def splits_of(positions: int, tiles: int, partial_elements: int, block_pixels: int, processors: int) -> tuple[int, int]:
    """How many runs of pixels there are, and how long each is: a multiple of block_pixels.

    Enough that all processors have work, but none shorter than LEAST_STEPS steps.
    """
    wanted = -(-PROGRAMS_PER_PROCESSOR * processors // tiles)
    most = min(max(1, positions // (LEAST_STEPS * block_pixels)), max(1, (LARGEST - 1) // partial_elements))
    length = -(-positions // min(wanted, most))
    length = -(-length // block_pixels) * block_pixels
    return -(-positions // length), length


def _accumulate(
    grad: Tensor,
    x: Tensor,
    pattern: HetPattern,
    where: Geometry,
    rows: PackedRows,
    configuration: WeightGradConfiguration,
) -> Tensor:
    """(splits, N, rows.row), float32."""
    from hetconv.ops.gpu.kernels.accumulate import accumulate

    batch, _, out_height, out_width = grad.shape
    blocks = -(-rows.out_channels // configuration.block_filters) * -(-rows.in_channels // configuration.block_columns)
    rings = rows.parts * -(-rows.part_filters // configuration.ring_filters)
    rings *= -(-rows.ring // configuration.block_columns)
    positions = batch * out_height * out_width
    splits, length = splits_of(
        positions, blocks + rings, rows.out_channels * rows.row, configuration.block_pixels, processors(x.device)
    )
    partial = torch.empty((splits, rows.out_channels, rows.row), dtype=torch.float32, device=x.device)
    accumulate[(blocks + rings, splits)](
        grad,
        x,
        partial,
        positions,
        length,
        x.shape[2],
        x.shape[3],
        out_height,
        out_width,
        rows.in_channels,
        rows.out_channels,
        rows.part_filters,
        rows.columns,
        rows.row,
        grad.stride(0),
        grad.stride(2),
        grad.stride(3),
        x.stride(0),
        x.stride(2),
        x.stride(3),
        *where.stride,
        *where.padding,
        *where.dilation,
        OWN=rows.own,
        KERNEL_HEIGHT=pattern.kernel_hw[0],
        KERNEL_WIDTH=pattern.kernel_hw[1],
        BLOCK_FILTERS=configuration.block_filters,
        BLOCK_COLUMNS=configuration.block_columns,
        BLOCK_PIXELS=configuration.block_pixels,
        RING_FILTERS=configuration.ring_filters,
        WIDEN=widen(x),
        PRECISION=multiplication(x.dtype),
        num_warps=configuration.warps,
        num_stages=configuration.stages,
    )
    return partial


def processors(device: torch.device) -> int:
    """Multiprocessors of the GPU; 1 for Triton's interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
