"""Memory of values that nobody needs any more is written over, where eager networks would do so with inplace=True."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node
from torch.nn import functional

from hetconv.graph.calls import arguments, called
from hetconv.graph.captured import Captured
from hetconv.graph.shapes import shapes_of
from hetconv.graph.values import has_own_memory

_ACTIVATIONS = "celu elu hardsigmoid hardswish hardtanh leaky_relu mish relu relu6 selu silu"
_IN_PLACE = frozenset(getattr(functional, name) for name in _ACTIVATIONS.split())


def reuse_memory(captured: Captured) -> None:
    """Run activations and additions in place on values that are theirs alone."""
    for node in captured.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in _IN_PLACE and _is_free(node.args[0]):
            found = arguments(node) | {"inplace": True}
            node.args, node.kwargs = (found.pop("input"),), found
        elif called(node) == "add" and len(node.args) == 2 and not node.kwargs:
            for first, other in (node.args, node.args[::-1]):
                if _is_free(first) and _fits(node, first, other):
                    node.op, node.target, node.args = "call_method", "add_", (first, other)
                    break


def _is_free(value: Any) -> bool:
    """Whether a value is memory of its own and has one user."""
    return isinstance(value, Node) and len(value.users) == 1 and has_own_memory(value)


def _fits(add: Node, first: Node, other: Any) -> bool:
    """Whether the sum has the shape and type of its first operand."""
    mine, result = shapes_of(first), shapes_of(add)
    if mine is None or result is None or other is first:
        return False
    added = shapes_of(other)
    same_type = not isinstance(other, Node) or (added is not None and added.dtype == mine.dtype)
    return same_type and mine.dtype == result.dtype == torch.float32 and mine.same_size_as(result)
