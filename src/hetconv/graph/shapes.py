"""The shapes that a graph's values have: on the example, and on other batches and images where the graph takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.graph.captured import Captured, evaluate

SHAPES = "shapes"


@dataclass(frozen=True)
class Shapes:
    """The shapes of one value: `example` first, then those on other inputs, in the same order for every value."""

    example: tuple[int, ...]
    others: tuple[tuple[int, ...] | None, ...]
    dtype: torch.dtype
    channels_last: bool

    def same_size_as(self, other: Shapes) -> bool:
        """Whether the two values have one shape whatever the input's batch and image size are, as far as tried."""
        return (self.example, self.others) == (other.example, other.others)


def shapes_of(node: Any) -> Shapes | None:
    """What `find_shapes` found for a node; None for a node whose value is no tensor, and for what is no node."""
    return node.meta.get(SHAPES) if isinstance(node, Node) else None


def find_shapes(captured: Captured, inputs: list[Tensor]) -> None:
    """Run the graph on the inputs, and on others of twice the batch and twice the image size, for their shapes only."""
    seen: dict[Node, Tensor] = {}
    with torch.no_grad():
        evaluate(captured, inputs, lambda node, value: _keep(seen, node, value))
        others = [_other(captured, inputs, batch, size) for batch, size in ((2, 1), (1, 2))]
    for node in captured.graph.nodes:
        node.meta.pop(SHAPES, None)
        value = seen.get(node)
        if value is not None:
            found = tuple(None if other is None else other.get(node) for other in others)
            channels_last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
            node.meta[SHAPES] = Shapes(tuple(value.shape), found, value.dtype, channels_last)


def _keep(seen: dict[Node, Tensor], node: Node, value: Any) -> Any:
    if isinstance(value, Tensor):
        seen[node] = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return value


def _other(captured: Captured, inputs: list[Tensor], batch: int, size: int) -> dict[Node, tuple[int, ...]] | None:
    """Shapes on scaled inputs; None if the graph does not take them."""
    found: dict[Node, tuple[int, ...]] = {}

    def keep(node: Node, value: Any) -> Any:
        if isinstance(value, Tensor):
            found[node] = tuple(value.shape)
        return value

    try:
        scaled = [_scaled(value, batch, size) for value in inputs]
        evaluate(captured, scaled, keep, lambda value: value.to("meta"))
    except Exception:  # whatever a graph raises on images that it was not made for
        return None
    return found


def _scaled(value: Tensor, batch: int, size: int) -> Tensor:
    shape = [length * batch if dim == 0 else length for dim, length in enumerate(value.shape)]
    if len(shape) == 4:
        shape[2:] = [length * size for length in shape[2:]]
    return torch.empty(shape, dtype=value.dtype, device="meta")
