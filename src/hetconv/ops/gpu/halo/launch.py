"""Launching the halo kernel: which calls it takes, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hetconv.ops.gpu.halo.tile import HaloConfiguration, HaloLayer, Positions, positions_of
from hetconv.ops.gpu.product import Epilogue, Walk
from hetconv.ops.gpu.rows import PackedRows
from hetconv.ops.packed import ACTIVATIONS
from hetconv.pattern import HetPattern

Launcher = Callable[[HaloConfiguration, int, Sequence[Tensor], HaloLayer], None]
"""Runs at most so many blocks of threads, which share the tiles, on x, packed weights, bias, residual and y."""
ALIGNMENT = 16


def why_not_halo(pattern: HetPattern, walk: Walk, dtype: torch.dtype) -> str | None:
    """Why this product does not run on the halo kernel, whatever its tensors; None if it may."""
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it multiplies bfloat16 and float16, and x is {dtype}"
    if pattern.kernel_hw != (3, 3) or walk.step != (1, 1) or walk.strided is not None:
        return "it is for 3×3 kernels with stride 1"
    if pattern.arrangement == "shifted" and pattern.p > 1:
        return "it stores parts one after the other, which is the blocked arrangement"
    return None


def padding_of(walk: Walk) -> tuple[int, int]:
    """Of the product as a convolution: the input gradient's taps, mirrored, begin elsewhere."""
    return _padding(walk.base[0], walk.delta[0]), _padding(walk.base[1], walk.delta[1])


def _padding(base: int, delta: int) -> int:
    return -base if delta > 0 else -(base + 2 * delta)


def dilation_of(walk: Walk) -> tuple[int, int]:
    return abs(walk.delta[0]), abs(walk.delta[1])


def positions_for(in_hw: tuple[int, int], out_hw: tuple[int, int], walk: Walk) -> Positions:
    """How the input of this product lies flat."""
    return positions_of(in_hw, out_hw, padding_of(walk), dilation_of(walk))


def aligned(x: Tensor) -> bool:
    """Whether pixels are runs of 16 bytes."""
    strides = (x.stride(0), x.stride(2), x.stride(3))
    return (
        x.stride(1) == 1
        and x.data_ptr() % ALIGNMENT == 0
        and all(s * x.element_size() % ALIGNMENT == 0 for s in strides)
    )


def _begun_at_16_bytes(tensor: Tensor) -> Tensor:
    """Itself, or a copy where it is a piece of something that is not."""
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()


def halo_into(
    y: Tensor,
    x: Tensor,
    packed: Tensor,
    rows: PackedRows,
    walk: Walk,
    configuration: HaloConfiguration,
    epilogue: Epilogue,
    launch: Launcher,
) -> None:
    """As `convolve_into`, on tensors whose pixels are `aligned`.

    Raises:
        ValueError: they are not, or the configuration is too small for the image.
    """
    residual = epilogue.residual
    if residual is not None and residual.stride() != y.stride():
        residual = torch.empty_strided(y.shape, y.stride(), dtype=y.dtype, device=y.device).copy_(residual)
    for name, tensor in (("x", x), ("the output", y)):
        if not aligned(tensor):
            raise ValueError(
                f"{name} has strides {tensor.stride()}; channels must be adjacent, pixels {ALIGNMENT}-byte aligned"
            )
    positions = positions_for((x.shape[2], x.shape[3]), (y.shape[2], y.shape[3]), walk)
    dilation, padding = dilation_of(walk), padding_of(walk)
    if configuration.positions + positions.reach(dilation) > configuration.most_positions:
        raise ValueError(f"{configuration} is too small for rows of {positions.row_positions} positions")
    bias = x if epilogue.bias is None else _begun_at_16_bytes(epilogue.bias.contiguous())
    total = x.shape[0] * positions.strips * positions.strip_positions
    tiles = -(-total // configuration.positions) * (rows.out_channels // configuration.filters)
    layer = HaloLayer(
        total, positions.strip_positions, positions.row_positions, positions.strips, positions.strip_width,
        x.shape[2], x.shape[3], y.shape[2], y.shape[3],
        *padding, *dilation, int(walk.delta[0] < 0),
        rows.in_channels, rows.own, rows.part_filters, rows.columns, rows.row,
        x.stride(0), x.stride(2), x.stride(3), y.stride(0), y.stride(2), y.stride(3),
        configuration.plane_rows, tiles, 0 if epilogue.bias is None else bias.element_size(), int(residual is not None),
        ACTIVATIONS.index(epilogue.activation),
    )  # fmt: skip
    launch(
        configuration,
        tiles,
        (x, _begun_at_16_bytes(packed), bias, x if residual is None else _begun_at_16_bytes(residual), y),
        layer,
    )
