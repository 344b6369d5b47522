"""Functions that bring tensors together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from hetconv.graph.calls import Operation
from hetconv.graph.module_graph import place
from hetconv.layout.flow import UNKNOWN, Attribute, Flow, Number, Value, inner_of
from hetconv.layout.spaces import Tracked, can_join, channels_of, join

Lookup = Callable[[Any], Value]
"""What is known of a node's argument."""


def binary(flow: Flow, node: fx.Node, value_of: Lookup) -> Any:
    """Addition, multiplication and the like, with broadcasting."""
    if len(node.args) < 2:
        return UNKNOWN
    one, other = (value_of(arg) for arg in node.args[:2])
    if isinstance(one, Number) and isinstance(other, Number):
        return one
    if not isinstance(one, Tracked) and not isinstance(other, Tracked):
        return UNKNOWN
    if isinstance(one, Tracked) and isinstance(other, Tracked):
        return _both(flow, node, one, other)
    if isinstance(one, Tracked):
        return _with(flow, node, one, other, node.args[1])
    assert isinstance(other, Tracked)
    return _with(flow, node, other, one, node.args[0])


def _both(flow: Flow, node: fx.Node, one: Tracked, other: Tracked) -> Any:
    larger, smaller = (one, other) if one.rank >= other.rank else (other, one)
    if one.from_right != other.from_right or one.inner != other.inner:
        return UNKNOWN
    if channels_of(smaller.segments) == 1:
        return larger
    if channels_of(larger.segments) == 1:
        return larger.moved(segments=smaller.segments)
    if can_join(one.segments, other.segments):
        join(one.segments, other.segments)
    elif channels_of(one.segments) == channels_of(other.segments) and isinstance(node.args[1], fx.Node):
        why = "concatenations of different make are added"
        flow.move(node, node.args[1], other.segments, one.segments, other.from_right, other.inner, why)
        return larger.moved(segments=one.segments)
    else:
        return UNKNOWN
    return larger


def _with(flow: Flow, node: fx.Node, value: Tracked, other: Value, arg: Any) -> Any:
    """A followed tensor and a number, a parameter, or a tensor in the author's order."""
    if isinstance(other, Attribute):
        shape = other.tensor.shape
        if len(shape) > value.rank:
            return UNKNOWN
        axis = len(shape) + value.from_right
        if axis >= 0 and shape[axis] > 1:
            inner = inner_of(shape[axis], value)
            if inner is None:
                return UNKNOWN
            flow.follow_tensor(other.name, axis, value.segments, inner)
    elif not isinstance(other, Number) and isinstance(arg, fx.Node):
        why = f"{place(arg)}, whose channels keep their order, is added or multiplied"
        flow.move(node, arg, None, value.segments, value.from_right, value.inner, why)
    return value


def cat(found: Operation, value_of: Lookup) -> Any:
    """Concatenation: one space after another along channels, one space for all along another dimension."""
    tensors, dim = found["tensors"], found.arguments.get("dim", 0)
    values = [value_of(tensor) for tensor in tensors] if isinstance(tensors, tuple | list) else []
    tracked = [value for value in values if isinstance(value, Tracked)]
    if not tracked or len(tracked) != len(values) or not isinstance(dim, int):
        return UNKNOWN
    first = tracked[0]
    if any((value.rank, value.dim, value.inner) != (first.rank, first.dim, first.inner) for value in tracked):
        return UNKNOWN
    if dim % first.rank == first.dim:
        if first.inner is None:
            return UNKNOWN
        return first.moved(segments=tuple(space for value in tracked for space in value.segments))
    if not all(can_join(first.segments, value.segments) for value in tracked):
        return UNKNOWN
    for value in tracked[1:]:
        join(first.segments, value.segments)
    return first.moved(area=None)
