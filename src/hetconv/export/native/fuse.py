"""The addition of a residual and the activation after a layer, joined to its operator."""

from __future__ import annotations

from typing import Any

from hetconv.export.native.form import DOMAIN, OPERATOR
from hetconv.export.native.nodes import attribute, constant, insert_before, only_user, replace, same_shape

INPUTS = 4
"""x, weight_spatial, weight_pointwise, bias; the residual is the fifth."""


def is_layer(node: Any) -> bool:
    return bool(node.domain == DOMAIN and node.op_type == OPERATOR)


def fuse_(graph: Any) -> dict[str, int]:
    """Join to each layer what follows it and is read by nobody else; returns how often what joined."""
    joined = {"residual": 0, "activation": 0}
    for node in list(graph):
        if is_layer(node):
            _fuse(graph, node, joined)
    return joined


def _fuse(graph: Any, node: Any, joined: dict[str, int]) -> None:
    chain, value, residual = [node], node.outputs[0], None
    user = only_user(value)
    if user is not None and user.op_type == "Add":
        residual = _residual(user, value)
        if residual is not None:
            chain.append(user)
            value = user.outputs[0]
    activation, nodes = _activation(value)
    chain += nodes
    if len(chain) == 1:
        return
    last = chain[-1]
    inputs = [*node.inputs, *[None] * (INPUTS - len(node.inputs)), *([] if residual is None else [residual])]
    options = {name: attribute(node, name) for name in node.attributes} | {"activation": activation}
    fused = insert_before(last, OPERATOR, inputs, options, DOMAIN, last.outputs[0])
    replace(last.outputs[0], fused)
    for old in reversed(chain):
        graph.remove(old, safe=True)
    joined["residual"] += residual is not None
    joined["activation"] += activation != "none"


def _residual(add: Any, value: Any) -> Any:
    """What is added to a layer's output, if it is another value of the output's shape."""
    others = [other for other in add.inputs if other is not value]
    if len(others) != 1 or constant(others[0]) is not None or not same_shape(value, others[0]):
        return None
    return others[0]


def _activation(value: Any) -> tuple[str, list[Any]]:
    """relu, relu6, silu or none, and the nodes that compute it from a value."""
    user = only_user(value)
    if user is not None and user.op_type == "Relu":
        return "relu", [user]
    if user is not None and user.op_type == "Clip" and len(user.inputs) == 3:
        low, high = (constant(bound) for bound in user.inputs[1:])
        if low is not None and high is not None and (low.item(), high.item()) == (0, 6):
            return "relu6", [user]
    users = {use.node for use in value.uses()}
    if not value.is_graph_output() and sorted(user.op_type for user in users) == ["Mul", "Sigmoid"]:
        product, gate = sorted(users, key=lambda node: str(node.op_type))
        if only_user(gate.outputs[0]) is product and set(product.inputs) == {value, gate.outputs[0]}:
            return "silu", [gate, product]
    return "none", []
