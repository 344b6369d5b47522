"""Channel spaces of a network: found by following every tensor's channels through its graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from hetconv.graph.calls import Held, has_hooks
from hetconv.graph.module_graph import place
from hetconv.layout.spaces import Segments, Space, Tracked, can_join, channels_of, join
from hetconv.nn import HetConv2d


@dataclass(frozen=True)
class Attribute:
    """A parameter or buffer that the network reads outside of PyTorch's modules."""

    name: str
    tensor: torch.Tensor


class Number:
    """A size, or what is computed from sizes."""


UNKNOWN = object()
"""A rule's answer where it does not apply: the node then reads its tensors in the author's order."""

Value = Tracked | Attribute | Number | None
"""None is a tensor whose channels stand as the network's author wrote them."""


@dataclass(frozen=True)
class Axis:
    """A dimension of a module's tensor that follows channels: it is permuted with them."""

    tensor: str
    axis: int
    segments: Segments
    inner: int


@dataclass(frozen=True)
class Move:
    """A place where a tensor may have to change its order; nothing is to be done where both orders are the same.

    Attributes:
        graph: which of the captured graphs it is in.
        node: who reads `value`; for a layer's output, the layer itself.
        source, target: order before and after; None is the author's.
        why: what stands in the way, in words.
    """

    graph: int
    node: fx.Node
    value: fx.Node
    source: Segments | None
    target: Segments | None
    dim: int
    inner: int | None
    why: str


@dataclass
class HetCalls:
    """A HetConv layer with more than one part, its two spaces, and where it is called as (graph, node)."""

    name: str
    layer: HetConv2d
    source: Segments
    target: Segments
    calls: list[tuple[int, fx.Node]] = field(default_factory=list)


class Flow:
    """What is known of a network's channels after its graphs have been followed.

    A module that is called more than once, or in more than one graph, has the same spaces each time.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.axes: dict[tuple[str, int], Axis] = {}
        self.natural: dict[str, str] = {}
        self.moves: list[Move] = []
        self.het: dict[nn.Module, HetCalls] = {}
        self.reached: set[nn.Module] = set()
        self.graph = -1
        self._sides: dict[tuple[str, str], Segments] = {}

    def enter(self, node: fx.Node, arg: Any, value: Value, weight: str, channels: int, dim: int) -> Segments:
        """The space that a layer with this weight reads, with the tensor that it reads here brought to it."""
        known = self._sides.get((weight, "in"))
        if not isinstance(value, Tracked):
            why = f"{place(node)} reads {_told(arg)}, whose channels keep their order"
            if known is None:
                return self._sides.setdefault((weight, "in"), (Space(channels, why),))
            self.move(node, arg, None, known, dim, 1, why)
            return known
        if known is None:
            return self._sides.setdefault((weight, "in"), value.segments)
        if can_join(known, value.segments):
            join(known, value.segments)
        else:
            why = f"{place(node)} is called on tensors of different make"
            self.move(node, arg, value.segments, known, value.dim, value.inner, why)
        return known

    def leave(self, weight: str, channels: int) -> Segments:
        """The space that a layer with this weight writes."""
        return self._sides.setdefault((weight, "out"), (Space(channels),))

    def follow(self, tensors: Iterable[Held | None], axis: int, segments: Segments, inner: int = 1) -> None:
        """These tensors of a layer, those that it has, follow channels in one dimension."""
        for tensor in tensors:
            if tensor is not None:
                self.follow_tensor(tensor.name, axis, segments, inner)

    def follow_tensor(self, tensor: str, axis: int, segments: Segments, inner: int) -> None:
        known = self.axes.setdefault((tensor, axis), Axis(tensor, axis, segments, inner))
        if known.segments is segments:
            return
        if can_join(known.segments, segments) and known.inner == inner:
            join(known.segments, segments)
        else:
            for space in (*known.segments, *segments):
                space.fix(f"{tensor} is read in different ways")

    def move(
        self,
        node: fx.Node,
        value: fx.Node,
        source: Segments | None,
        target: Segments | None,
        dim: int,
        inner: int | None,
        why: str,
    ) -> None:
        self.moves.append(Move(self.graph, node, value, source, target, dim, inner, why))

    def to_natural(self, node: fx.Node, values: dict[fx.Node, Value]) -> None:
        """This node reads its tensors in the author's order, whatever it does with them."""
        for arg in node.all_input_nodes:
            value = values[arg]
            if isinstance(value, Tracked):
                why = f"{place(node)} is not known to keep channels apart"
                if has_hooks(node, self.modules):
                    why = f"{place(node)} has a forward hook, which would meet channels in another order"
                if node.op == "output":
                    why = "the network's output keeps its order"
                self.move(node, arg, value.segments, None, value.dim, value.inner, why)
            elif isinstance(value, Attribute):
                self.natural.setdefault(value.name, place(node))

    def keep(self, name: str, node: fx.Node) -> None:
        """A module's own tensors stay in the author's order."""
        for key in self.modules[name]._parameters:
            self.natural.setdefault(f"{name}.{key}", place(node))

    def call_het(self, node: fx.Node, arg: Any, value: Value, layer: HetConv2d, name: str) -> Segments:
        """A call of a layer of several parts: it has spaces of its own where its input's cannot be ordered for it."""
        source = value.segments if isinstance(value, Tracked) else None
        known = self.het.get(layer)
        if known is None:
            shares = source is not None and len(source) == 1 and source[0].channels == layer.in_channels
            own = source if shares and source is not None else (Space(layer.in_channels),)
            known = self.het[layer] = HetCalls(
                name, layer, own, self.leave(f"{name}.weight_spatial", layer.out_channels)
            )
        if source is not None and can_join(source, known.source):
            join(known.source, source)
        else:
            what = f"a concatenation ({_told(arg)})" if source is not None else _told(arg)
            inner = value.inner if isinstance(value, Tracked) else 1
            why = f"{name} (p={layer.p}) reads {what}, whose channels cannot be brought into its order"
            self.move(node, arg, source, known.source, 1, inner, why)
        known.calls.append((self.graph, node))
        return known.target


def inner_of(features: int, value: Tracked) -> int | None:
    """How many features each channel has, given the number of all; None if that is no whole number."""
    inner, rest = divmod(features, channels_of(value.segments))
    return inner if rest == 0 and value.inner in (None, inner) else None


def _told(arg: Any) -> str:
    return place(arg) if isinstance(arg, fx.Node) else str(arg)
