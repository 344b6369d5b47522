"""Steps that work on each channel's image: pools, means, resizing and padding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.fx import Node

from hetconv.deployment.step_values import Extent, Known, NotAStepError, are_sides
from hetconv.deployment.step_writer import StepWriter
from hetconv.deployment.windows import average_pool_of, max_pool_of, mean_dims, pair, resizing_of, zero_sides
from hetconv.graph.calls import arguments
from hetconv.ops import network_steps as network
from hetconv.ops.network_steps import NO_SCALE, Resizing, Window


def max_pool(writer: StepWriter, node: Node) -> Known:
    window = max_pool_of(node)
    if isinstance(window, str):
        raise NotAStepError(f"{window} is no operation of the native network")
    return largest(writer, writer.images(writer.preferred(node.args[0])), window)


def largest(writer: StepWriter, value: Known, window: Window) -> Known:
    return writer.add(network.max_pool(value.number, window), value.channels, of=value.of)


def average_pool(writer: StepWriter, node: Node) -> Known:
    found = average_pool_of(node)
    if isinstance(found, str):
        raise NotAStepError(f"{found} is no operation of the native network")
    value = writer.images(writer.preferred(node.args[0]))
    step = network.average_pool(value.number, found[0], value.of or NO_SCALE, found[1])
    return writer.add(step, value.channels, of=value.of)


def adaptive_pool(writer: StepWriter, node: Node) -> Known:
    return _average(writer, node.args[0], pair(arguments(node)["output_size"]))


def _average(writer: StepWriter, node: Any, size: tuple[int, int] = (1, 1)) -> Known:
    value = writer.images(writer.value(node))
    if value.one_pixel and size == (1, 1):
        return value
    if value.of is not None and size == (1, 1):
        return writer.add(network.global_average(value.number, value.of), value.channels, one_pixel=True)
    value = writer.float32(node)
    return writer.add(network.adaptive_average(value.number, size), value.channels, one_pixel=size == (1, 1))


def mean(writer: StepWriter, node: Node) -> Known:
    found = mean_dims(node)
    if found is None or found[0] != [2, 3]:
        raise NotAStepError("it is a mean of other dimensions than the image's")
    value = _average(writer, node.args[0])
    return value if found[1] else replace(value, flat=True, one_pixel=True)


def resize(writer: StepWriter, node: Node) -> Known:
    found = resizing_of(node)
    if isinstance(found, str):
        raise NotAStepError(f"{found} is no operation of the native network")
    value = writer.images(writer.value(node.args[0]))
    sampling, size, scale = found
    like = None
    if size is not None:
        sides = _sides(writer, size)
        if isinstance(sides, Known):
            like = sides.number
        resizing = Resizing(sampling, (0, 0) if isinstance(sides, Known) else sides)
    else:
        resizing = Resizing(sampling, scale=scale)
    return writer.add(network.resize(value.number, resizing, like), value.channels, of=value.of)


def _sides(writer: StepWriter, size: Any) -> tuple[int, int] | Known:
    """Height and width as numbers, or the value whose they are."""
    given = writer.known.get(size) if isinstance(size, Node) else size
    both = tuple(given) if isinstance(given, list | tuple) else (given, given)
    both = tuple(writer.known.get(one) if isinstance(one, Node) else one for one in both)
    if len(both) == 2 and all(isinstance(one, int) for one in both):
        return both
    of = both[0].of if isinstance(both[0], Extent) else None
    if of is None or not are_sides(both, of):
        raise NotAStepError("it computes with an image's size")
    return of


def pad(writer: StepWriter, node: Node) -> Known:
    sides = zero_sides(node)
    if sides is None:
        raise NotAStepError("only zeros are padded")
    left, right, top, bottom, before, after = sides
    around = any(sides[:4])
    value = writer.images(writer.preferred(node.args[0]))
    if around:
        step = network.pad_image(value.number, top, bottom, left, right, value.of or NO_SCALE)
        value = writer.add(step, value.channels, of=value.of)
    if before or after:
        channels = None if value.channels is None else before + value.channels + after
        step = network.pad_channels(value.number, before, after, value.of or NO_SCALE)
        value = writer.add(step, channels, of=value.of)
    return value
