"""Operations in place become values: afterwards a node's value never changes once it is computed."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Node
from torch.nn import functional

from hetconv.deployment.calls import arguments, called
from hetconv.deployment.captured import Captured, CaptureError

_OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
}
_VIEWS = """
T broadcast_to chunk contiguous cpu detach dropout dropout1d dropout2d dropout3d expand expand_as flatten float getattr
getitem mT meshgrid movedim narrow permute reshape reshape_as split split_with_sizes squeeze stochastic_depth swapaxes
swapdims t to transpose type_as unbind unflatten unfold unsqueeze view view_as
"""
_MAY_SHARE = frozenset(_VIEWS.split())
"""Calls whose result may be the same memory as their argument."""


def make_values(captured: Captured) -> None:
    """Replace every operation in place by the one that returns a new value.

    What reads the changed tensor afterwards reads the new value.

    Raises:
        CaptureError: the change would be seen through a view, or changes the module's own state.
    """
    for node in list(captured.graph.nodes):
        if _take_out_of_place(node):
            _redirect(node, node.args[0], {other: place for place, other in enumerate(captured.graph.nodes)})


def _take_out_of_place(node: Node) -> bool:
    """Make the node a call that leaves its arguments alone; False if it was one before."""
    if node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).endswith("__"):
        node.target = str(node.target)[:-1]
        return True
    if node.op != "call_function":
        return False
    if node.target in _OPERATORS:
        node.target = _OPERATORS[node.target]
        return isinstance(node.args[0], Node)
    name = called(node)
    if name.endswith("_") and not name.startswith("_"):
        replacement = getattr(functional, name[:-1], getattr(torch, name[:-1], None))
        if replacement is None:
            raise CaptureError(f"{name} changes a tensor in place")
        node.target = replacement
        return True
    if getattr(node.target, "__module__", "") == "torch.nn.functional" and _written_in_place(node):
        found = arguments(node) | {"inplace": False}
        first = next(iter(found))
        node.args = (found.pop(first),)
        node.kwargs = found
        return True
    return False


def _written_in_place(node: Node) -> bool:
    try:
        return bool(arguments(node).get("inplace", False))
    except (TypeError, ValueError):  # no signature: PyTorch's own in C++, none of which has such an argument
        return bool(node.kwargs.get("inplace", False))


def _redirect(node: Node, changed: Any, places: dict[Node, int]) -> None:
    if changed.op == "get_attr":
        raise CaptureError(f"it changes its own {changed.target} while it runs")
    for alias in _aliases(changed):
        if alias is not changed and alias is not node and any(places[user] > places[node] for user in alias.users):
            raise CaptureError(f"{called(node)} in place changes a tensor that is read through a view afterwards")
    changed.replace_all_uses_with(node, delete_user_cb=lambda user: places[user] > places[node])


def _aliases(node: Node) -> set[Node]:
    """Nodes whose memory may be this node's."""
    found: set[Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left.extend(_neighbours(one))
    return found


def _neighbours(node: Node) -> Iterator[Node]:
    if called(node) in _MAY_SHARE:
        yield from node.all_input_nodes[:1]
    yield from (user for user in node.users if called(user) in _MAY_SHARE and user.all_input_nodes[0] is node)
