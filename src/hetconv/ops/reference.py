"""The definition of the layer in one line: a dense convolution with a zero-masked kernel. Slow and obviously right."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import conv2d

from hetconv.ops.arguments import Geometry
from hetconv.ops.weights import to_dense_weight
from hetconv.pattern import HetPattern


def het_conv2d(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    bias: Tensor | None,
    pattern: HetPattern,
    where: Geometry,
) -> Tensor:
    """x (B, M, H, W) → (B, N, H', W'); its gradients are what PyTorch's autograd makes of it."""
    weight = to_dense_weight(weight_spatial, weight_pointwise, pattern)
    return conv2d(x, weight, bias, where.stride, where.padding, where.dilation)


def executed_macs_per_position(pattern: HetPattern) -> int:
    """Multiply-adds this path executes for one output position: all of the dense kernel's."""
    return pattern.out_channels * pattern.in_channels * pattern.taps
