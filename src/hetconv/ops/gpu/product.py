"""Launching `convolve`: which positions of the source each position of the result reads, and the launch itself."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor

from hetconv.ops.arguments import Geometry
from hetconv.ops.gpu.configurations import Configuration
from hetconv.ops.gpu.rows import PackedRows
from hetconv.ops.gpu.support import multiplication
from hetconv.pattern import HetPattern


@dataclass(frozen=True)
class Walk:
    """Position q of the result reads the source at q·step + base + tap·delta, as (height, width).

    With `strided`, the input gradient of that layer: the result's positions are taken residue by residue, and base
    and taps are each residue's own.
    """

    step: tuple[int, int]
    base: tuple[int, int]
    delta: tuple[int, int]
    strided: Geometry | None = None


def forward_walk(where: Geometry) -> Walk:
    """Of the output over the input."""
    return Walk(where.stride, (-where.padding[0], -where.padding[1]), where.dilation)


def input_grad_walk(where: Geometry) -> Walk:
    """Of the input's gradient over the output's."""
    if where.stride == (1, 1):
        return Walk((1, 1), where.padding, (-where.dilation[0], -where.dilation[1]))
    common = [gcd(s, d) for s, d in zip(where.stride, where.dilation, strict=True)]
    return Walk((1, 1), (0, 0), (-where.dilation[0] // common[0], -where.dilation[1] // common[1]), where)


@dataclass(frozen=True)
class Epilogue:
    """What happens to a sum before it is stored: bias (N), then residual, of the result's shape, then activation."""

    bias: Tensor | None = None
    residual: Tensor | None = None
    activation: str | None = None


def convolve_into(
    y: Tensor,
    x: Tensor,
    packed: Tensor,
    pattern: HetPattern,
    rows: PackedRows,
    walk: Walk,
    configuration: Configuration,
    epilogue: Epilogue = Epilogue(),
) -> None:
    """y = activation(packed · x + bias + residual).

    Args:
        y: (B, rows.out_channels, …), in any memory, channels in the layer's own order
        x: (B, rows.in_channels, …), channels adjacent and in blocked order
        packed: what `pack_weights` gave for the pattern and the rows
    """
    from hetconv.ops.gpu.kernels.convolve import convolve

    batch, _, out_height, out_width = y.shape
    strided = Geometry() if walk.strided is None else walk.strided
    q_height, q_width = -(-out_height // strided.stride[0]), -(-out_width // strided.stride[1])
    width = configuration.tile_width
    if width:
        pixel_tiles = batch * -(-q_width // width) * -(-q_height // (configuration.block_pixels // width))
    else:
        pixel_tiles = -(-batch * q_height * q_width // configuration.block_pixels)
    filter_tiles = rows.parts // configuration.parts * -(-rows.part_filters // configuration.block_filters)
    residual = epilogue.residual
    if residual is not None and residual.stride() != y.stride():
        residual = torch.empty_strided(y.shape, y.stride(), dtype=y.dtype, device=y.device).copy_(residual)
    common, inverse = zip(*(_common(s, d) for s, d in zip(strided.stride, strided.dilation, strict=True)), strict=True)
    one_tap = rows.own % configuration.block_k == 0
    convolve[(pixel_tiles * filter_tiles, strided.stride[0] * strided.stride[1])](
        x,
        packed,
        x if epilogue.bias is None else epilogue.bias.contiguous(),
        x if residual is None else residual,
        y,
        batch,
        x.shape[2],
        x.shape[3],
        q_height,
        q_width,
        out_height,
        out_width,
        rows.in_channels,
        rows.out_channels,
        rows.parts,
        rows.part_filters,
        rows.p,
        rows.columns,
        rows.row,
        x.stride(0),
        x.stride(2),
        x.stride(3),
        y.stride(0),
        y.stride(2),
        y.stride(3),
        y.stride(1),
        *walk.step,
        *walk.base,
        *walk.delta,
        OWN=rows.own,
        KERNEL_HEIGHT=pattern.kernel_hw[0],
        KERNEL_WIDTH=pattern.kernel_hw[1],
        SHIFTED=pattern.arrangement == "shifted" and rows.p > 1,
        BLOCK_FILTERS=configuration.block_filters,
        BLOCK_PIXELS=configuration.block_pixels,
        BLOCK_K=configuration.block_k,
        TILE_WIDTH=width,
        PARTS=configuration.parts,
        FILTER_ROWS=configuration.filter_rows,
        HALVED=8 // x.element_size() if configuration.halved else 0,
        EVEN=rows.even and (walk.strided is None or one_tap),
        HAS_BIAS=epilogue.bias is not None,
        HAS_RESIDUAL=residual is not None,
        ACTIVATION=epilogue.activation,
        WIDEN=widen(x),
        PRECISION=multiplication(x.dtype),
        RESIDUES=walk.strided is not None,
        STRIDE_H=strided.stride[0],
        STRIDE_W=strided.stride[1],
        PADDING_H=strided.padding[0],
        PADDING_W=strided.padding[1],
        DILATION_H=strided.dilation[0],
        DILATION_W=strided.dilation[1],
        COMMON_H=common[0],
        COMMON_W=common[1],
        INVERSE_H=inverse[0],
        INVERSE_W=inverse[1],
        num_warps=configuration.warps,
        num_stages=configuration.stages,
    )


def widen(x: Tensor) -> bool:
    """Whether operands are widened before they are multiplied, which Triton's interpreter needs for bfloat16."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def _common(stride: int, dilation: int) -> tuple[int, int]:
    """gcd of both, and the inverse of dilation / gcd modulo stride / gcd."""
    common = gcd(stride, dilation)
    step = stride // common
    return common, pow(dilation // common, -1, step) if step > 1 else 0
