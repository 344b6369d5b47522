"""A captured module: its graph, and the tensors that the graph refers to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from hetconv.pattern import HetPattern


@dataclass
class Captured:
    """Calls of plain functions and tensor methods with plain arguments.

    Attributes:
        graph: `placeholder`, `get_attr` (of `constants`), `call_function`, `call_method` and one `output`.
        constants: by the names that the graph's `get_attr` nodes have as targets.
        packed: of which layer those constants are that are packed weights.
    """

    graph: Graph
    constants: dict[str, Tensor]
    packed: dict[str, HetPattern] = field(default_factory=dict)

    def copy(self) -> Captured:
        """A graph of its own around the same tensors."""
        return Captured(copy.deepcopy(self.graph), dict(self.constants), dict(self.packed))

    @property
    def placeholders(self) -> list[Node]:
        return [node for node in self.graph.nodes if node.op == "placeholder"]

    @property
    def output(self) -> Node:
        return self.graph.output_node()

    def constant(self, node: Any) -> Tensor | None:
        """The tensor that a node stands for; None if it is no constant's node."""
        return self.constants[str(node.target)] if isinstance(node, Node) and node.op == "get_attr" else None

    def add_constant(self, name: str, value: Tensor) -> str:
        """Keep a tensor under this name, or the next free one like it; returns the name."""
        free, number = name, 1
        while free in self.constants:
            free, number = f"{name}_{number}", number + 1
        self.constants[free] = value
        return free

    def drop_unused(self) -> None:
        """Erase nodes without users and constants without nodes."""
        for node in reversed(self.graph.nodes):
            if not node.users and node.op not in ("placeholder", "output") and not _has_effect(node):
                self.graph.erase_node(node)
        used = {node.target for node in self.graph.nodes if node.op == "get_attr"}
        for name in [name for name in self.constants if name not in used]:
            del self.constants[name]
            self.packed.pop(name, None)


def _has_effect(node: Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "_assert"


def evaluate(
    captured: Captured,
    inputs: list[Tensor],
    observe: Callable[[Node, Any], Any] | None = None,
    constant: Callable[[Tensor], Tensor] = lambda value: value,
) -> Any:
    """Run a graph node by node; each value is let go after its last use.

    Args:
        observe: is shown each node with its value, and returns the value to go on with.
        constant: what becomes of each constant before it is used.
    """
    last_use = {used: node for node in captured.graph.nodes for used in node.all_input_nodes}
    values: dict[Node, Any] = {}
    given = iter(inputs)
    for node in captured.graph.nodes:
        args, kwargs = map_arg((node.args, node.kwargs), lambda used: values[used])
        if node.op == "output":
            return args[0]
        if node.op == "placeholder":
            value = next(given)
        elif node.op == "get_attr":
            value = constant(captured.constants[node.target])
        else:
            value = call(node, args, kwargs)
        if observe is not None:
            value = observe(node, value)
        values[node] = value
        del args, kwargs, value
        for used in (*node.all_input_nodes, node):
            if last_use.get(used, node) is node:
                del values[used]
    raise AssertionError("a graph ends in its output")


def call(node: Node, args: Any, kwargs: Any) -> Any:
    """What a node computes of these arguments."""
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    assert callable(node.target)
    return node.target(*args, **kwargs)
