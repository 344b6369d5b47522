"""Steps that choose, order and concatenate channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from hetconv.deployment.image_steps import largest
from hetconv.deployment.step_values import Groups, Known, NotAStepError, Pieces
from hetconv.deployment.step_writer import StepWriter
from hetconv.deployment.windows import part_of
from hetconv.graph.calls import arguments, called
from hetconv.ops import network_steps as network
from hetconv.ops.arguments import Geometry
from hetconv.ops.network_steps import Window

_CHANNELS_LAST, _CHANNELS_FIRST, _GROUPS_TURNED = (0, 2, 3, 1), (0, 3, 1, 2), (0, 2, 1, 3, 4)


def taken_part(writer: StepWriter, node: Node) -> Known:
    part = part_of(node)
    if part is None:
        raise NotAStepError("this part of a tensor is no operation of the native network")
    all_channels = part.begin == 0 and part.end is None
    if all_channels and part.stride == (1, 1):
        return writer.renamed(node, node.args[0], writer.images(writer.value(node.args[0])))
    value = writer.images(writer.preferred(node.args[0]) if all_channels else writer.value(node.args[0]))
    if part.stride != (1, 1):
        value = largest(writer, value, Window((1, 1), Geometry(part.stride)))
    if all_channels:
        return value
    if value.channels is None:
        raise NotAStepError("how many channels there are is not known")
    return _channels(writer, value, part.begin, min(value.channels, part.end or value.channels))


def _channels(writer: StepWriter, value: Known, begin: int, end: int) -> Known:
    if begin >= end:
        raise NotAStepError("it takes no channels")
    return _select(writer, value, range(begin, end))


def _select(writer: StepWriter, value: Known, channels: Sequence[int]) -> Known:
    step = network.select_channels(value.number, channels)
    return writer.add(step, len(channels), value, of=value.of)


def in_order(writer: StepWriter, groups: Groups) -> Known:
    return _select(writer, groups.of, groups.channels.flatten().tolist())


def channel_shuffle(writer: StepWriter, node: Node) -> Known:
    groups: Any = node.args[1]
    value = writer.images(writer.value(node.args[0]))
    if value.channels is None:
        raise NotAStepError("how many channels there are is not known")
    return in_order(writer, Groups(value, torch.arange(value.channels).reshape(groups, -1).t()))


def transpose(writer: StepWriter, node: Node) -> Groups:
    given, source = arguments(node), writer.known.get(node.args[0])  # type: ignore[arg-type]
    if not isinstance(source, Groups) or {given["dim0"], given["dim1"]} != {1, 2}:
        raise NotAStepError("it transposes something else than groups of channels")
    return replace(source, channels=source.channels.t())


def permute(writer: StepWriter, node: Node) -> Known | Groups:
    dims = node.args[1:] if isinstance(node.args[1], int) else node.args[1]
    order = tuple(dim % len(dims) for dim in dims)  # type: ignore[operator, arg-type, union-attr]
    source = writer.known.get(node.args[0])  # type: ignore[arg-type]
    if isinstance(source, Groups) and order == _GROUPS_TURNED:
        return replace(source, channels=source.channels.t())
    value = writer.images(writer.value(node.args[0]))
    if order != (_CHANNELS_FIRST if value.permuted else _CHANNELS_LAST):
        raise NotAStepError(f"it puts the dimensions in the order {order}")
    return writer.renamed(node, node.args[0], replace(value, permuted=not value.permuted))


def pieces(writer: StepWriter, node: Node) -> Pieces:
    given = arguments(node)
    value = writer.images(writer.value(node.args[0]))
    parts = given.get("chunks" if called(node) == "chunk" else "split_size_or_sections", given.get("split_size"))
    if given.get("dim", 0) not in (1, -3) or value.channels is None:
        raise NotAStepError("only channels are split")
    if isinstance(parts, int):
        size = -(-value.channels // parts) if called(node) == "chunk" else parts
        parts = [min(size, value.channels - at) for at in range(0, value.channels, size)]
    if not isinstance(parts, list | tuple) or not all(isinstance(one, int) for one in parts):
        raise NotAStepError("its parts are computed from the input")
    begins = [sum(parts[:at]) for at in range(len(parts))]
    return Pieces(tuple(_channels(writer, value, at, at + one) for at, one in zip(begins, parts, strict=True)))


def concatenate(writer: StepWriter, node: Node) -> Known:
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    parts = node.args[0]
    if not isinstance(parts, list | tuple):
        raise NotAStepError("it is of an unknown number of tensors")
    return concatenated(writer, [writer.float32(part) for part in parts], dim)


def concatenated(writer: StepWriter, values: list[Known], dim: Any) -> Known:
    flat = values[0].flat
    if any(value.flat != flat for value in values) or dim not in ((1, -1) if flat else (1, -3)):
        raise NotAStepError("only channels are concatenated")
    counts = [value.channels for value in values]
    channels = None if None in counts else sum(count for count in counts if count is not None)
    made = writer.add(network.concatenate([value.number for value in values]), channels, values[0], of=values[0].of)
    return replace(made, one_pixel=all(value.one_pixel for value in values))
