"""The layer from PyTorch's own operators: a grouped K×K convolution plus a 1×1 convolution. Runs everywhere.

The 1×1 kernels see the input only where the centre tap falls inside it; `_centre_windows` says where, so that
stride, dilation and any padding cost no copy. The three functions are linear in each of their tensors and each is
the other two's gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight

from hetconv.ops.arguments import Geometry
from hetconv.ops.weights import channel_tables
from hetconv.pattern import HetPattern, blocked_to_shifted, shifted_to_blocked

Window = tuple[slice, ...]


def executed_macs_per_position(pattern: HetPattern) -> int:
    """Multiply-adds this path executes for one output position: the 1×1 runs on all M channels."""
    if pattern.p == 1:
        return pattern.macs_per_position
    grouped = pattern.taps * pattern.spatial_per_filter
    return pattern.out_channels * (grouped + pattern.in_channels)


def het_conv2d(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    bias: Tensor | None,
    pattern: HetPattern,
    where: Geometry,
) -> Tensor:
    """x (B, M, H, W) → (B, N, H', W')."""
    output = conv2d(
        _to_blocked(x, pattern),
        _to_blocked(weight_spatial, pattern, dim=0),
        _blocked_bias(bias, pattern),
        where.stride,
        where.padding,
        where.dilation,
        groups=pattern.p,
    )
    output = _to_shifted(output, pattern)
    windows = _centre_windows(pattern, where, x.shape[-2:], output.shape[-2:])
    if windows is not None:
        seen, reached = windows
        weight = _pointwise_kernel(weight_pointwise, pattern)
        output = _add_window(output, reached, conv2d(x[seen], weight))
    return output


def input_grad(
    grad_output: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    input_hw: tuple[int, int],
    pattern: HetPattern,
    where: Geometry,
) -> Tensor:
    """grad_output (B, N, H', W') → (B, M, *input_hw)."""
    size = (grad_output.shape[0], pattern.in_channels, *input_hw)
    grad = conv2d_input(
        size,
        _to_blocked(weight_spatial, pattern, dim=0),
        _to_blocked(grad_output, pattern),
        where.stride,
        where.padding,
        where.dilation,
        groups=pattern.p,
    )
    grad = _to_shifted(grad, pattern)
    windows = _centre_windows(pattern, where, input_hw, grad_output.shape[-2:])
    if windows is not None:
        seen, reached = windows
        weight = _pointwise_kernel(weight_pointwise, pattern).transpose(0, 1)
        grad = _add_window(grad, seen, conv2d(grad_output[reached], weight))
    return grad


def weight_grad(grad_output: Tensor, x: Tensor, pattern: HetPattern, where: Geometry) -> tuple[Tensor, Tensor]:
    """grad_output (B, N, H', W'), x (B, M, H, W) → gradients of the K×K weights and of the 1×1 weights."""
    spatial = conv2d_weight(
        _to_blocked(x, pattern),
        pattern.spatial_shape,
        _to_blocked(grad_output, pattern),
        where.stride,
        where.padding,
        where.dilation,
        groups=pattern.p,
    )
    spatial = _to_shifted(spatial, pattern, dim=0)
    windows = _centre_windows(pattern, where, x.shape[-2:], grad_output.shape[-2:])
    if windows is None:
        return spatial, x.new_zeros(pattern.pointwise_shape)
    seen, reached = windows
    dense = conv2d_weight(x[seen], (pattern.out_channels, pattern.in_channels, 1, 1), grad_output[reached])
    _, channels = channel_tables(pattern, x.device)
    return spatial, dense[:, :, 0, 0].gather(1, channels)


def _centre_windows(
    pattern: HetPattern, where: Geometry, input_hw: tuple[int, ...], output_hw: tuple[int, ...]
) -> tuple[Window, Window] | None:
    """The input positions that centre taps read, and the output positions that read them, as indices.

    None where there is nothing to add: no 1×1 kernels (P=1), or every centre tap falls on the padding.
    """
    if pattern.p == 1:
        return None
    seen: list[slice] = [slice(None), slice(None)]
    reached: list[slice] = [slice(None), slice(None)]
    for dim in (0, 1):
        stride = where.stride[dim]
        offset = where.dilation[dim] * (pattern.kernel_hw[dim] // 2) - where.padding[dim]
        first = max(0, -(offset // stride))
        end = min(output_hw[dim], -((offset - input_hw[dim]) // stride))
        if end <= first:
            return None
        seen.append(slice(first * stride + offset, (end - 1) * stride + offset + 1, stride))
        reached.append(slice(first, end))
    return tuple(seen), tuple(reached)


def _add_window(whole: Tensor, window: Window, part: Tensor) -> Tensor:
    whole[window].add_(part)
    return whole


def _pointwise_kernel(weight_pointwise: Tensor, pattern: HetPattern) -> Tensor:
    _, channels = channel_tables(pattern, weight_pointwise.device)
    dense = weight_pointwise.new_zeros(pattern.out_channels, pattern.in_channels)
    return dense.scatter(1, channels, weight_pointwise)[:, :, None, None]


def _to_blocked(tensor: Tensor, pattern: HetPattern, dim: int = 1) -> Tensor:
    return _permute(tensor, shifted_to_blocked(tensor.shape[dim], pattern.p), pattern, dim)


def _to_shifted(tensor: Tensor, pattern: HetPattern, dim: int = 1) -> Tensor:
    return _permute(tensor, blocked_to_shifted(tensor.shape[dim], pattern.p), pattern, dim)


def _permute(tensor: Tensor, permutation: tuple[int, ...], pattern: HetPattern, dim: int) -> Tensor:
    if pattern.arrangement == "blocked" or pattern.p in (1, tensor.shape[dim]):
        return tensor
    return tensor.index_select(dim, torch.tensor(permutation, device=tensor.device))


def _blocked_bias(bias: Tensor | None, pattern: HetPattern) -> Tensor | None:
    return None if bias is None else _to_blocked(bias, pattern, dim=0)
