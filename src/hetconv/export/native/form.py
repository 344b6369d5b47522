"""A HetConv layer as one operator of ONNX Runtime that runs the native kernels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from hetconv.nn import HetConv2d
from hetconv.ops.arguments import geometry

DOMAIN, OPERATOR = "ai.hetconv", "HetConv2d"
VERSION = 1


class NativeForm(nn.Module):
    """The layer as a node that PyTorch's exporter writes down and does not compute.

    Its images are (B, C, H, W), which the operator does not take: `native.layout` brings them to channels-last.

    Shape:
        as the layer's.
    """

    def __init__(self, layer: HetConv2d) -> None:
        super().__init__()
        self.pattern = layer.pattern
        self.pad_mode, self.pad_sides = layer.padding_mode, layer._pad_sides()
        padding = layer.padding if layer.padding_mode == "zeros" else 0
        self.where = geometry(layer.stride, padding, layer.dilation, layer.pattern.kernel_hw)
        self.weight_spatial, self.weight_pointwise = layer.weight_spatial, layer.weight_pointwise
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        import torch.onnx.ops

        if self.pad_mode != "zeros":
            x = functional.pad(x, self.pad_sides, mode=self.pad_mode)
        height, width = self.where.output_hw((x.shape[2], x.shape[3]), self.pattern.kernel_hw)
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{OPERATOR}",
            (x, self.weight_spatial, self.weight_pointwise, self.bias),
            {
                "p": self.pattern.p,
                "stride": list(self.where.stride),
                "padding": list(self.where.padding),
                "dilation": list(self.where.dilation),
                "arrangement": self.pattern.arrangement,
                "activation": "none",
            },
            dtype=x.dtype,
            shape=(x.shape[0], self.pattern.out_channels, height, width),
            version=VERSION,
        )
