"""Steps of layers: convolutions, and norms that are folded into none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from hetconv.deployment.step_values import Known, NotAStepError
from hetconv.deployment.step_writer import StepWriter
from hetconv.deployment.windows import pair
from hetconv.graph.calls import arguments, operation
from hetconv.graph.folding import Statistics, why_not_statistics
from hetconv.ops import network_steps as network
from hetconv.ops.arguments import Geometry, geometry
from hetconv.ops.network_steps import Window
from hetconv.ops.packed import ACTIVATIONS
from hetconv.pattern import HetPattern


def packed_layer(writer: StepWriter, node: Node) -> Known:
    x, weights, bias, residual, numbers = node.args
    value = writer.images(writer.float32(x))
    pattern = writer.captured.packed.get(str(getattr(weights, "target", "")))
    if pattern is None:
        raise NotAStepError("its weights are not packed")
    where, kind = _layer(numbers, pattern)
    added = None if residual is None else writer.images(writer.float32(residual)).number
    step = network.packed_convolution(
        value.number, pattern, writer.constant(weights), writer.bias(bias, pattern.out_channels), where, kind, added
    )
    return writer.add(step, pattern.out_channels, one_pixel=value.one_pixel and where.padding == (0, 0))


def convolution(writer: StepWriter, node: Node) -> Known:
    given = arguments(node)
    value, weight = writer.images(writer.float32(given["input"])), writer.constant(given["weight"])
    kernel = int(weight.shape[2]), int(weight.shape[3])
    where = _geometry(given, kernel)
    bias = writer.bias(given["bias"], weight.shape[0])
    step = network.grouped_convolution(value.number, weight, bias, Window(kernel, where), int(given["groups"]))
    return writer.add(step, int(weight.shape[0]), one_pixel=value.one_pixel and where.padding == (0, 0))


def batch_norm(writer: StepWriter, node: Node) -> Known:
    norm = operation(node, {})
    assert norm is not None
    value = writer.float32(norm["input"])
    reason = why_not_statistics(norm)
    if reason is not None:
        raise NotAStepError(reason)
    scale, shift = Statistics.of(norm, writer.captured.constants.__getitem__).affine()
    return writer.add(network.float_affine(value.number, scale, shift), len(scale), value)


def layer_norm(writer: StepWriter, node: Node) -> Known:
    given, value = arguments(node), writer.float32(node.args[0])
    channels = value.channels
    if not value.ends_in_channels or channels is None or tuple(given["normalized_shape"]) != (channels,):
        raise NotAStepError("it is a layer norm over other dimensions than each pixel's channels")
    weight = torch.ones(channels) if given["weight"] is None else writer.constant(given["weight"])
    step = network.layer_norm(value.number, given["eps"], weight, writer.bias(given["bias"], channels))
    return writer.add(step, channels, value)


def _layer(numbers: Any, pattern: HetPattern) -> tuple[Geometry, str | None]:
    """What `layer_numbers` says of a layer with this pattern."""
    out_channels, p, *rest, shifted, kind = (int(number) for number in numbers)
    arrangement = "shifted" if shifted else "blocked"
    kernel, stride, padding, dilation = ((rest[i], rest[i + 1]) for i in range(0, 8, 2))
    mine = (pattern.out_channels, pattern.p, pattern.kernel_hw, pattern.arrangement)
    if mine != (out_channels, p, kernel, arrangement) or kind not in range(len(ACTIVATIONS)):
        raise NotAStepError("its numbers are those of another layer")
    return Geometry(stride, padding, dilation), ACTIVATIONS[kind]


def _geometry(given: Mapping[str, Any], kernel: tuple[int, int]) -> Geometry:
    padding = given["padding"]
    if isinstance(padding, str):
        if padding != "valid" and min(size % 2 for size in kernel) == 0:
            raise NotAStepError(f"padding={padding!r} of a kernel of even size is not the same on both sides")
        return geometry(pair(given["stride"]), padding, pair(given["dilation"]), kernel)
    return Geometry(pair(given["stride"]), pair(padding), pair(given["dilation"]))
