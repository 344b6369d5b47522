"""What follows a convolution and can join it: the addition of a residual, and the activation."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import Node

from hetconv.graph.calls import activation, called, convolution_kind
from hetconv.graph.captured import Captured
from hetconv.graph.shapes import shapes_of

RESIDUAL = "residual"


@dataclass(frozen=True)
class Chain:
    """A convolution, the addition and the activation after it, where there are such.

    Attributes:
        last: the node whose value the fused call gives.
        residual: what is added.
        activation: relu, relu6 or silu.
        reason: why no more joined.
    """

    last: Node
    nodes: tuple[Node, ...]
    residual: Node | None
    activation: str | None
    reason: str | None

    @property
    def joined(self) -> list[str]:
        """What joined, in words."""
        return [word for word in (RESIDUAL if self.residual else None, self.activation) if word is not None]


def find_chain(captured: Captured, first: Node) -> Chain:
    """What joins a convolution: each step only if nobody else uses the value before it."""
    node, nodes, reason = first, [first], None
    residual: Node | None = None
    user = _only_user(node)
    if user is not None and called(user) == "add":
        other = _other_operand(user, node)
        reason = _why_not_residual(captured, node, other)
        if isinstance(other, Node) and reason is None:
            node, residual = user, other
            nodes.append(node)
            user = _only_user(node)
    kind = None if user is None else activation(user)
    if user is not None and kind is not None:
        node = user
        nodes.append(node)
    elif reason is None and len(node.users) > 1:
        reason = f"the value after {'the addition' if residual else 'it'} is used in {len(node.users)} places"
    elif reason is None and user is not None and user.op != "output":
        reason = f"what follows is {'another convolution' if _is_convolution(user) else called(user)}"
    return Chain(node, tuple(nodes), residual, kind, reason)


def _is_convolution(node: Node) -> bool:
    return convolution_kind(node) is not None or called(node) == "het_conv2d_packed"


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _other_operand(add: Node, node: Node) -> object:
    """The other operand of a plain addition of two; the node itself where there is none."""
    if len(add.args) != 2 or add.kwargs:
        return node
    return add.args[1] if add.args[0] is node else add.args[0]


def _why_not_residual(captured: Captured, node: Node, other: object) -> str | None:
    mine, added = shapes_of(node), shapes_of(other)
    if not isinstance(other, Node) or other is node or captured.constant(other) is not None:
        return "what is added is no value of the network"
    if mine is None or added is None or not mine.same_size_as(added) or mine.dtype != added.dtype:
        return "what is added has another shape or type"
    return None
