"""Writes in place become values: afterwards a node's value never changes once it is computed.

This is the one place that knows when that is allowed. A write in place is turned into the call that returns a new
value, and what reads the written tensor afterwards reads the new value; it is refused where somebody reads the same
memory afterwards under another name, a view or a tensor that it is a view of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn import functional

from hetconv.graph.allowed import METHODS, name_of
from hetconv.graph.calls import arguments, called
from hetconv.graph.operations import MAY_SHARE, MODULES, OF_SEVERAL, SIZE_ATTRIBUTES, SIZES
from hetconv.graph.tracing import IN_PLACE_OPERATORS, CaptureError

_OWN_MEMORY = frozenset(METHODS) - MAY_SHARE


def make_values(graph: Graph, modules: Mapping[str, nn.Module] | None = None) -> set[Node]:
    """Replace every write in place by the call that returns a new value.

    Args:
        modules: those that the graph calls; of a graph that calls none, nothing. One with `inplace=True` has to be
            switched to `inplace=False` before the graph is run.

    Returns:
        the graph's inputs that the original writes to: its caller would see that.

    Raises:
        CaptureError: a write is seen under another name, or changes the module's own state. The graph is spoilt then.
    """
    return _Writes(graph, {} if modules is None else modules).redirect_all()


class _Writes:
    def __init__(self, graph: Graph, modules: Mapping[str, nn.Module]) -> None:
        self.graph, self.modules = graph, modules
        self.inputs: set[Node] = set()

    def redirect_all(self) -> set[Node]:
        for node in list(self.graph.nodes):
            written = self._take_out_of_place(node)
            if written is not None:
                self._redirect(node, written)
        return self.inputs

    def _take_out_of_place(self, node: Node) -> Any:
        """Make the node a call that leaves its arguments alone; the argument that it wrote to before, if any."""
        if node.kwargs.get("out") is not None:
            raise CaptureError(f"it calls {called(node)} with out=, which writes into a tensor")
        if node.op == "call_module":
            return node.args[0] if getattr(self.modules[str(node.target)], "inplace", False) is True else None
        if node.op == "call_method":
            return self._method(node)
        if node.op != "call_function":
            return None
        if node.target in IN_PLACE_OPERATORS:
            node.target = IN_PLACE_OPERATORS[node.target]
            return None if is_number(node.args[0]) else node.args[0]
        name = called(node)
        if name.endswith("_") and not name.startswith("_"):
            node.target = _without_underscore(name, functional, torch)
            return _first(node, name)
        if getattr(node.target, "__module__", "") == "torch.nn.functional" and _written_in_place(node):
            found = arguments(node) | {"inplace": False}
            first = next(iter(found))
            node.args, node.kwargs = (found.pop(first),), found
            return node.args[0]
        if node.kwargs.get("inplace"):
            raise CaptureError(f"it calls {name} with inplace=True, which is not known to have another form")
        return None

    def _method(self, node: Node) -> Any:
        name = str(node.target)
        if not name.endswith("_") or name.endswith("__"):
            return None
        _without_underscore(name, Tensor)
        node.target = name[:-1]
        return node.args[0]

    def _redirect(self, node: Node, written: Any) -> None:
        if not isinstance(written, Node):
            raise CaptureError(f"{called(node)} in place writes to what is no tensor of the graph")
        if written.op == "get_attr":
            raise CaptureError(f"it changes its own {written.target} while it runs")
        places = {other: place for place, other in enumerate(self.graph.nodes)}
        for alias in self._aliases(written, [other for other in places if places[other] < places[node]]):
            if alias.op == "get_attr":
                raise CaptureError(f"it changes its own {alias.target} while it runs")
            if alias.op == "placeholder":
                self.inputs.add(alias)
            readers = (user for user in alias.users if not is_number(user))  # a size stays as it was
            if alias is not written and any(places[user] > places[node] for user in readers):
                what = _in_words(node, self.modules)
                raise CaptureError(f"{what} in place changes a tensor that is read through a view afterwards")
        written.replace_all_uses_with(node, delete_user_cb=lambda user: places[user] > places[node])

    def _aliases(self, node: Node, among: Collection[Node]) -> set[Node]:
        """Nodes before a write whose memory may be this node's, itself among them; views taken later see the write."""
        known = set(among)
        found: set[Node] = set()
        left = [node]
        while left:
            one = left.pop()
            if one not in found and one in known:
                found.add(one)
                left.extend(self._shared(one))
                left.extend(user for user in one.users if one in self._shared(user))
        return found

    def _shared(self, node: Node) -> list[Node]:
        """The arguments whose memory a node's value may be; a call that is not known may give back any of them."""
        if not _may_share(node, self.modules):
            return []
        used = [one for one in node.all_input_nodes if not is_number(one)]
        return used[:1] if called(node) in MAY_SHARE - OF_SEVERAL else used


def _may_share(node: Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_method":
        return node.target not in _OWN_MEMORY
    if node.op == "call_module":
        module = modules[str(node.target)]
        known = type(module).__module__.startswith(("torch.nn.modules.", "hetconv.nn."))
        return not known or MODULES.get(type(module), ("",))[0] in MAY_SHARE
    if node.op != "call_function" or is_number(node):
        return False
    return name_of(node.target) is None or called(node) in MAY_SHARE


def has_own_memory(node: Node) -> bool:
    """Whether the value of a plain call is memory that no other value has."""
    return node.op in ("call_function", "call_method") and not is_number(node) and not _may_share(node, {})


def _without_underscore(name: str, *holders: Any) -> Any:
    """The function that returns what `name` would have written."""
    for holder in holders:
        found = getattr(holder, name[:-1], None)
        if callable(found):
            return found
    raise CaptureError(f"{name} changes a tensor in place")


def _first(node: Node, name: str) -> Any:
    if node.args:
        return node.args[0]
    return next((node.kwargs[key] for key in ("input", "self") if key in node.kwargs), None)


def _written_in_place(node: Node) -> bool:
    try:
        return bool(arguments(node).get("inplace", False))
    except (TypeError, ValueError):  # no signature: PyTorch's own in C++, none of which has such an argument
        return bool(node.kwargs.get("inplace", False))


def is_number(value: Any) -> bool:
    """Whether a value is a size, a type, or what is computed from such: it has no memory that could be shared."""
    if not isinstance(value, Node):
        return not isinstance(value, Tensor)
    if value.op == "call_method":
        return value.target in SIZES
    if value.op != "call_function":
        return False
    if value.target is getattr:
        return value.args[1] in SIZE_ATTRIBUTES
    return getattr(value.target, "__module__", "") == "_operator" and all(map(is_number, value.all_input_nodes))


def _in_words(node: Node, modules: Mapping[str, nn.Module]) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(modules[str(node.target)]).__name__})"
    return called(node)


def views_of(graph: Graph, node: Node) -> Iterator[Node]:
    """The node and what may be views of its value, one of another."""
    writes = _Writes(graph, {})
    left, found = [node], set[Node]()
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            yield one
            left.extend(user for user in one.users if one in writes._shared(user))
