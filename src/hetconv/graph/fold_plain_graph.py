"""Batch norms of a graph of plain calls folded into the constants of the layers before them."""

from __future__ import annotations

from torch import Tensor
from torch.fx import Node

from hetconv.graph.calls import arguments, module_of, set_arguments
from hetconv.graph.captured import Captured
from hetconv.graph.folding import FoldableGraph, Outcome, fold_batch_norms
from hetconv.graph.shapes import shapes_of


def fold_plain_graph(captured: Captured) -> tuple[Outcome, ...]:
    """Fold every batch norm that can be; the graph's shapes must be known."""
    outcomes = fold_batch_norms(_PlainCalls(captured))
    captured.drop_unused()
    return outcomes


class _PlainCalls(FoldableGraph):
    """Layers whose weights are constants: a folded layer gets new ones, and others may go on reading the old ones."""

    def __init__(self, captured: Captured) -> None:
        self.captured, self.graph, self.modules = captured, captured.graph, {}

    def tensor(self, name: str) -> Tensor:
        return self.captured.constants[name]

    def rank(self, node: Node) -> int | None:
        shapes = shapes_of(node)
        return None if shapes is None else len(shapes.example)

    def put(self, node: Node, tensors: dict[str, Tensor]) -> None:
        given = arguments(node)
        with self.graph.inserting_before(node):
            for argument, value in tensors.items():
                name = f"{module_of(node)}.{argument}.folded".lstrip(".")
                given[argument] = self.graph.get_attr(self.captured.add_constant(name, value))
        set_arguments(node, given)

    def drop(self, norm: Node) -> None:
        norm.replace_all_uses_with(arguments(norm)["input"])
        self.graph.erase_node(norm)
