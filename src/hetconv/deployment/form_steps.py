"""Calls that give the same numbers another form, mostly without a step, and those that read shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from hetconv.deployment.channel_steps import in_order, taken_part
from hetconv.deployment.step_values import Batch, Column, Groups, Known, NotAStepError, Pieces, Sizes, are_sides
from hetconv.deployment.step_writer import StepWriter
from hetconv.graph.calls import arguments, called
from hetconv.ops import network_steps as network

_TO_ONE_PIXEL = ((slice(None), slice(None), None, None), (..., None, None))
"""Indices that make numbers an image of one pixel."""


def flatten(writer: StepWriter, node: Node) -> Known:
    given = arguments(node)
    groups = writer.known.get(node.args[0])  # type: ignore[arg-type]
    if isinstance(groups, Groups) and (given.get("start_dim"), given.get("end_dim")) == (1, 2):
        return in_order(writer, groups)
    if given.get("start_dim", 0) != 1 or given.get("end_dim", -1) not in (-1, 3):
        raise NotAStepError("it flattens other dimensions than the image's")
    return _flattened(writer, node, writer.value(node.args[0]), None)


def _flattened(writer: StepWriter, node: Node, value: Known, wanted: int | None) -> Known:
    if value.flat:
        if wanted not in (None, value.channels):
            raise NotAStepError("it is no flattening")
        return writer.renamed(node, node.args[0], value)
    if value.one_pixel and wanted in (None, value.channels):
        return writer.renamed(node, node.args[0], replace(value, flat=True))
    made = writer.add(network.flatten(value.number, wanted), wanted, of=value.of)
    return replace(made, flat=True, one_pixel=True)


def reshape(writer: StepWriter, node: Node) -> Known | Groups:
    """To (batch, numbers), or (batch, numbers) to images of one pixel; channels to groups of them, and back."""
    source = writer.known.get(node.args[0])  # type: ignore[arg-type]
    sizes: Any = node.args[1:] if not isinstance(node.args[1], list | tuple) else node.args[1]
    whole: list[Any] = [writer.known.get(one, one) if isinstance(one, Node) else one for one in sizes]
    batch = whole[0] == Batch() or whole[0] == -1
    if isinstance(source, Groups):
        if batch and whole[1] in (-1, source.channels.numel()) and are_sides(whole[2:], source.of):
            return in_order(writer, source)
        raise NotAStepError("it gives another form than its images'")
    value = writer.value(node.args[0])
    if batch and len(whole) == 5 and value.channels is not None and are_sides(whole[3:], value):
        return Groups(value, torch.arange(value.channels).reshape(whole[1:3]))
    if batch and len(whole) == 2 and isinstance(whole[1], int):
        return _flattened(writer, node, value, None if whole[1] == -1 else whole[1])
    if batch and value.flat and whole[2:] == [1, 1] and isinstance(whole[1], int):
        channels = value.channels if value.channels is not None or whole[1] == -1 else whole[1]
        if whole[1] in (-1, channels):
            return writer.renamed(node, node.args[0], replace(value, channels=channels, flat=False))
    raise NotAStepError("it gives another form than (batch, numbers)")


def squeeze(writer: StepWriter, node: Node) -> Known:
    given = arguments(node)
    dims = given.get("dim")
    value = writer.value(node.args[0])
    if not isinstance(dims, list | tuple) or sorted(d % 4 for d in dims) != [2, 3] or not value.one_pixel:
        raise NotAStepError("it squeezes something else than an image of one pixel")
    return _flattened(writer, node, value, None)


def unsqueeze(writer: StepWriter, node: Node) -> Known | Column:
    source, dim = writer.known.get(node.args[0]), arguments(node).get("dim")  # type: ignore[arg-type]
    if isinstance(source, Known) and source.flat and dim in (2, -1):
        writer.same[node] = node.args[0]  # type: ignore[assignment]
        return Column(source)
    if isinstance(source, Column) and dim in (2, 3, -1):
        return _one_pixel(writer, node, source.of)
    raise NotAStepError("it gives another form than an image of one pixel")


def _one_pixel(writer: StepWriter, node: Node, value: Known) -> Known:
    return writer.renamed(node, node.args[0], replace(value, flat=False, one_pixel=True))


def take(writer: StepWriter, node: Node) -> Any:
    source = writer.known.get(node.args[0])  # type: ignore[arg-type]
    index = node.args[1]
    if isinstance(source, Sizes | tuple):
        return source[index] if isinstance(index, int) else tuple(source[at] for at in _places(source, index))
    if isinstance(source, Pieces) and isinstance(index, int):
        return source.parts[index]
    if isinstance(source, Known) and source.flat and index in _TO_ONE_PIXEL:
        return _one_pixel(writer, node, source)
    return taken_part(writer, node)


def shape(writer: StepWriter, node: Node) -> Any:
    if called(node) == "getattr" and node.args[1] != "shape":
        raise NotAStepError(f"it reads a tensor's {node.args[1]}")
    value = writer.value(node.args[0])
    asked = node.args[1] if called(node) == "size" and len(node.args) > 1 else None
    return Sizes(value)[asked] if isinstance(asked, int) else Sizes(value)


def layout(writer: StepWriter, node: Node) -> Known | Groups:
    source = writer.known.get(node.args[0])  # type: ignore[arg-type]
    return source if isinstance(source, Groups) else writer.renamed(node, node.args[0], writer.value(node.args[0]))


def _places(sizes: Sizes | tuple[Any, ...], index: Any) -> range:
    if not isinstance(index, slice):
        raise NotAStepError("it takes a part of a shape that no step needs")
    return range(*index.indices(len(sizes)))
