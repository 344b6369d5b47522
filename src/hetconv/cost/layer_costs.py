"""What each kind of layer costs, in closed form, from its sizes and its output's shape."""

from __future__ import annotations

from math import prod

from torch import nn

from hetconv.nn import HetConv2d, SparseConv2d, SparseLinear
from hetconv.records import LayerCost

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COUNTED = (HetConv2d, SparseConv2d, SparseLinear, nn.Linear, *CONVOLUTIONS)


def layer_cost(name: str, layer: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> LayerCost:
    """Cost of one call of a HetConv, convolution, linear or sparse layer; costs are for the whole batch."""
    if not isinstance(layer, nn.Linear | SparseLinear) and len(output_shape) == len(layer.kernel_size) + 1:  # type: ignore[arg-type]
        input_shape, output_shape = (1, *input_shape), (1, *output_shape)
    if isinstance(layer, SparseConv2d | SparseLinear):
        return _sparse_cost(name, layer, output_shape)
    if isinstance(layer, HetConv2d):
        return _het_cost(name, layer, output_shape)
    if isinstance(layer, nn.Linear):
        return _linear_cost(name, layer, output_shape)
    return _conv_cost(name, layer, input_shape, output_shape)


def _het_cost(name: str, layer: HetConv2d, output_shape: tuple[int, ...]) -> LayerCost:
    positions = _positions(output_shape)
    macs = positions * layer.pattern.macs_per_position
    biases = positions * layer.out_channels // layer.p if layer.bias is not None else 0
    return LayerCost(
        name, "het", layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, output_shape[2:], macs,
        _params(layer), macs + biases, p=layer.p, arrangement=layer.arrangement,
    )  # fmt: skip


def _sparse_cost(name: str, layer: SparseConv2d | SparseLinear, output_shape: tuple[int, ...]) -> LayerCost:
    """Weights that are not stored are not multiplied."""
    macs = _positions(output_shape) * layer.nonzeros
    biases = prod(output_shape) if layer.bias is not None else 0
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    if isinstance(layer, SparseLinear):
        channels, kernel_size, stride = (layer.in_features, layer.out_features), (), ()
    else:
        channels = (layer.in_channels, layer.out_channels)
        kernel_size, stride = layer.kernel_size, layer.stride
    return LayerCost(
        name, "sparse", *channels, tuple(kernel_size), tuple(stride), output_shape[2:], macs, _params(layer),
        macs + biases,
    )  # fmt: skip


def _linear_cost(name: str, layer: nn.Linear, output_shape: tuple[int, ...]) -> LayerCost:
    outputs = prod(output_shape)
    macs = outputs * layer.in_features
    biases = outputs if layer.bias is not None else 0
    return LayerCost(
        name, "linear", layer.in_features, layer.out_features, (), (), output_shape[1:-1], macs, _params(layer),
        macs + biases,
    )  # fmt: skip


def _conv_cost(name: str, layer: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> LayerCost:
    assert isinstance(layer, CONVOLUTIONS)
    transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    used = _positions(input_shape if transposed else output_shape)
    macs = used * layer.in_channels * layer.out_channels * prod(layer.kernel_size) // layer.groups
    biases = _positions(output_shape) * layer.out_channels if layer.bias is not None else 0
    return LayerCost(
        name, _conv_kind(layer), layer.in_channels, layer.out_channels, tuple(layer.kernel_size),
        tuple(layer.stride), output_shape[2:], macs, _params(layer), macs + biases, groups=layer.groups,
    )  # fmt: skip


def _conv_kind(layer: nn.Module) -> str:
    if layer.groups > 1:  # type: ignore[operator]
        return "depthwise" if layer.groups == layer.in_channels else "grouped"
    return "pointwise" if prod(layer.kernel_size) == 1 else "dense"  # type: ignore[arg-type]


def _positions(shape: tuple[int, ...]) -> int:
    """Batch × spatial positions of a (B, C, …) shape."""
    return shape[0] * prod(shape[2:])


def _params(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())
