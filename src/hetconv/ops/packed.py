"""`het_conv2d` on weights packed once, with what follows the layer in the same pass: inference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from hetconv.ops.arguments import Geometry
from hetconv.ops.dispatch import Ints, library, ops
from hetconv.pattern import HetPattern

ACTIVATIONS = (None, "relu", "relu6", "silu", "hardswish", "hardsigmoid", "sigmoid", "gelu")
"""In the order of csrc/het_conv.h; gelu is the exact one, not tanh's."""
ON_GPU = ACTIVATIONS[:4]


def layer_numbers(pattern: HetPattern, where: Geometry, activation: str | None) -> Ints:
    """What `het_conv2d_packed` takes as `layer`."""
    return [
        pattern.out_channels,
        pattern.p,
        *pattern.kernel_hw,
        *where.stride,
        *where.padding,
        *where.dilation,
        int(pattern.arrangement == "shifted"),
        ACTIVATIONS.index(activation),
    ]


def layer_padding(numbers: Ints) -> Ints:
    """The padding among `layer_numbers`."""
    return numbers[6:8]


def _fake_packed(x: Tensor, packed: Tensor, bias: Tensor | None, residual: Tensor | None, layer: Ints) -> Tensor:
    out_channels, _, *numbers, _, _ = layer
    kernel, stride, padding, dilation = ((numbers[i], numbers[i + 1]) for i in range(0, 8, 2))
    height, width = Geometry(stride, padding, dilation).output_hw((x.shape[2], x.shape[3]), kernel)
    size = (x.shape[0], out_channels, height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=suggest_memory_format(x))


if not hasattr(torch.ops.hetconv, "het_conv2d_packed"):  # csrc/register.cpp defines it, where its CPU kernel is
    library.define("het_conv2d_packed(Tensor x, Tensor packed, Tensor? bias, Tensor? residual, int[] layer) -> Tensor")
torch.library.register_fake("hetconv::het_conv2d_packed", _fake_packed, lib=library)


def het_conv2d_packed(x: Tensor, packed: Tensor, bias: Tensor | None, residual: Tensor | None, layer: Ints) -> Tensor:
    """activation(het_conv2d(x) + bias + residual), in one pass.

    Args:
        x: (B, M, H, W), float32 or bfloat16 on the CPU; on a GPU of the type of packed
        packed: what `native.pack_weights`, or on a GPU `gpu.packed_weights.pack_for_inference`, gave for the pattern
        bias: (N), float32, or None
        residual: (B, N, H', W') in the type of x, or None
        layer: `layer_numbers`
    """
    return ops.het_conv2d_packed.default(x, packed, bias, residual, layer)  # type: ignore[no-any-return]
