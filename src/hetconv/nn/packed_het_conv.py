"""A HetConv layer for inference: weights packed once, activation and residual in the same pass."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.nn.het_conv import HetConv2d
from hetconv.ops.arguments import geometry
from hetconv.ops.gpu.packed_weights import pack_for_inference
from hetconv.ops.native import choose_algorithm, pack_weights
from hetconv.ops.packed import ACTIVATIONS, het_conv2d_packed, layer_numbers

Activation = Literal["relu", "relu6", "silu", "hardswish", "hardsigmoid", "sigmoid", "gelu"]
"""On a GPU, the first three."""


class PackedHetConv2d(nn.Module):
    """activation(layer(x) + residual) of a HetConv2d whose weights no longer change, without gradients.

    Packed weights are in the order the kernels of this machine read them: the native ones, or those of the GPU that the
    layer is on. They are derived and never saved: save the layer, and pack it where it runs.

    Args:
        size: batch size, height and width of the inputs that it will be called with most. Its weights are packed for
            the algorithm that is faster there, and it takes others too. None sums tap by tap.

    Shape:
        input (B, M, H, W), on the CPU float32 or bfloat16, whatever the layer's type was, on a GPU of the layer's type;
        residual (B, N, H', W') of that type, or None; output (B, N, H', W') of that type, channels-last if the input is

    Raises:
        UsageError: the kernels cannot run here, or the activation is not one of theirs.
    """

    def __init__(
        self, layer: HetConv2d, activation: Activation | None = None, size: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            names = ", ".join(name for name in ACTIVATIONS if name is not None)
            raise UsageError(f"activation={activation!r} must be None or one of {names}")
        self.pattern, self.activation = layer.pattern, activation
        self.pad_mode, self.pad_sides = layer.padding_mode, layer._pad_sides()
        padding = layer.padding if layer.padding_mode == "zeros" else 0
        where = geometry(layer.stride, padding, layer.dilation, layer.pattern.kernel_hw)
        self.layer_numbers = layer_numbers(layer.pattern, where, activation)
        self.packed: Tensor
        self.bias: Tensor | None
        weights = layer.weights()
        if layer.weight_spatial.is_cuda:
            packed = pack_for_inference(*weights, layer.pattern)
        else:
            algorithm = "direct" if size is None else choose_algorithm(layer.pattern, where, self._padded(size))
            packed = pack_weights(*weights, layer.pattern, algorithm)
        self.register_buffer("packed", packed, persistent=False)
        bias = None if layer.bias is None else layer.bias.detach().float().clone()
        self.register_buffer("bias", bias, persistent=False)
        self.eval()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            raise UsageError("a packed layer has no gradients; call it under torch.no_grad(), or train the HetConv2d")
        if self.pad_mode != "zeros":
            x = functional.pad(x, self.pad_sides, mode=self.pad_mode)
        return het_conv2d_packed(x, self.packed, self.bias, residual, self.layer_numbers)

    def _padded(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        batch, height, width = size
        if self.pad_mode == "zeros":
            return size
        left, right, top, bottom = self.pad_sides
        return batch, height + top + bottom, width + left + right

    def extra_repr(self) -> str:
        pattern = self.pattern
        parts = f"{pattern.in_channels}, {pattern.out_channels}, kernel_size={pattern.kernel_hw}, p={pattern.p}"
        return parts if self.activation is None else f"{parts}, activation={self.activation}"


def pack(
    layer: HetConv2d, activation: Activation | None = None, size: tuple[int, int, int] | None = None
) -> PackedHetConv2d:
    """The layer packed for inference where it is, with the activation that follows it.

    Args:
        size: batch size, height and width of the inputs, by which the faster algorithm is chosen; None sums tap by tap

    Raises:
        UsageError: as `PackedHetConv2d`.
    """
    return PackedHetConv2d(layer, activation, size)
