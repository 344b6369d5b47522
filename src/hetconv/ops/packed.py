"""`het_conv2d` on weights packed once, with what follows the layer in the same pass: inference on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from hetconv.ops.arguments import Geometry
from hetconv.ops.dispatch import Ints, library, ops, where
from hetconv.pattern import HetPattern

ACTIVATIONS = (None, "relu", "relu6", "silu")

library.define(
    "het_conv2d_packed(Tensor x, Tensor packed, Tensor? bias, Tensor? residual, int[4] layer, SymInt[2] stride, "
    "SymInt[2] padding, SymInt[2] dilation, bool shifted, int activation) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


@torch.library.register_fake("hetconv::het_conv2d_packed", lib=library)
def _fake_packed(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    layer: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    shifted: bool,
    activation: int,
) -> Tensor:
    out_channels, _, kernel_height, kernel_width = layer
    geometry = where(stride, padding, dilation)
    height, width = geometry.output_hw((x.shape[2], x.shape[3]), (kernel_height, kernel_width))
    size = (x.shape[0], out_channels, height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=suggest_memory_format(x))


def het_conv2d_packed(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    pattern: HetPattern,
    geometry: Geometry,
    activation: str | None,
) -> Tensor:
    """activation(het_conv2d(x) + bias + residual), in one pass.

    Args:
        x: (B, M, H, W), float32 on the CPU
        packed: what `native.pack_weights` gave for the pattern
        bias: (N) or None
        residual: (B, N, H', W') or None
    """
    return ops.het_conv2d_packed(  # type: ignore[no-any-return]
        x,
        packed,
        bias,
        residual,
        (pattern.out_channels, pattern.p, *pattern.kernel_hw),
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        pattern.arrangement == "shifted",
        ACTIVATIONS.index(activation),
    )
