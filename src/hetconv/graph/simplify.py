"""What a graph does only for training, for gradients or for memory layout is taken out; values stay the same."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node
from torch.nn import functional

from hetconv.graph.allowed import ATTRIBUTES, METHODS, describe, name_of
from hetconv.graph.calls import called, operation
from hetconv.graph.captured import Captured, call
from hetconv.graph.operations import COPIES, DROPOUTS
from hetconv.graph.tracing import CaptureError
from hetconv.graph.values import views_of

_GATED = {"sigmoid": functional.silu, "hardsigmoid": functional.hardswish}


def fold_constants(captured: Captured) -> None:
    """Compute once what depends on constants only, such as weights that are standardized at each call."""
    for node in list(captured.graph.nodes):
        used = node.all_input_nodes
        if node.op in ("call_function", "call_method") and used and all(one.op == "get_attr" for one in used):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), captured.constant)
            with torch.no_grad():
                value = call(node, args, kwargs)
            if isinstance(value, torch.Tensor):
                _become(captured, node, captured.add_constant(f"{used[0].target}.{called(node)}", value.clone()))
            elif isinstance(value, bool | int | float | torch.dtype | torch.Size | torch.device):
                _replace_by_value(captured, node, value)
    captured.drop_unused()


def drop_identities(captured: Captured) -> None:
    """Take out dropout and the like outside of training, and calls that only choose a memory layout.

    `view` becomes `reshape`, for which any layout will do.
    """
    for node in list(captured.graph.nodes):
        if node.op == "call_method" and node.target == "view" and not _is_type(node):
            node.target = "reshape"
        if _is_identity(node) and not _is_returned_copy(captured, node):
            node.replace_all_uses_with(node.args[0])
            captured.graph.erase_node(node)
    captured.drop_unused()


def name_activations(captured: Captured) -> None:
    """Write x · sigmoid(x) as silu, and x · hardsigmoid(x) as hardswish: as one call, which may join a convolution."""
    for node in list(captured.graph.nodes):
        gate = _gate_of(node)
        if gate is not None:
            with captured.graph.inserting_before(node):
                named = captured.graph.call_function(_GATED[called(gate)], (gate.args[0],))
            named.meta = dict(node.meta)
            node.replace_all_uses_with(named)
            captured.graph.erase_node(node)
            captured.graph.erase_node(gate)


def _gate_of(node: Node) -> Node | None:
    """The sigmoid of a product of a value with its own sigmoid, which nobody else reads."""
    if called(node) != "mul" or len(node.args) != 2 or node.kwargs:
        return None
    for value, gate in (node.args, node.args[::-1]):
        is_gate = isinstance(gate, Node) and called(gate) in _GATED and len(gate.users) == 1
        if is_gate and gate.args == (value,) and not set(gate.kwargs) - {"inplace"}:  # type: ignore[union-attr]
            return gate  # type: ignore[return-value]
    return None


def fold_dimensions(captured: Captured, dimensions: dict[Node, int]) -> None:
    """Write down how many dimensions each tensor has, which the input's decide, and drop what was true of them."""
    for node in list(captured.graph.nodes):
        asked = called(node) in ("dim", "ndimension") or (called(node) == "getattr" and node.args[1] == "ndim")
        if asked and node.args[0] in dimensions:
            _replace_by_value(captured, node, dimensions[node.args[0]])
    for node in list(captured.graph.nodes):
        name = name_of(node.target) if node.op == "call_function" else None
        if name == "torch._assert" and node.args[0] is True:
            captured.graph.erase_node(node)
        elif name is not None and name.startswith("operator.") and not node.kwargs and _is_plain(node.args):
            _replace_by_value(captured, node, call(node, node.args, {}))
    captured.drop_unused()


def check_allowed(captured: Captured) -> None:
    """Check that the graph consists of allowed operations on allowed arguments, and drop `out=None`.

    Raises:
        CaptureError: it does not; the message names the operation.
    """
    for node in captured.graph.nodes:
        if node.op == "call_method" and node.target not in METHODS:
            raise CaptureError(f"it calls the tensor method {node.target}, which a deployed graph may not")
        if node.op == "call_function" and name_of(node.target) is None:
            raise CaptureError(f"it calls {describe(node.target)}, which a deployed graph may not")
        if called(node) == "getattr" and node.args[1] not in ATTRIBUTES:
            raise CaptureError(f"it reads a tensor's {node.args[1]}, which a deployed graph may not")
        if node.kwargs.get("out") is not None:
            raise CaptureError(f"it calls {called(node)} with out=, which a deployed graph may not")
        node.kwargs = {key: value for key, value in node.kwargs.items() if key != "out"}


def _is_identity(node: Node) -> bool:
    name = called(node)
    if node.op == "call_function" and name in (*DROPOUTS, "stochastic_depth"):
        found = operation(node, {})
        return found is not None and found["training"] is False
    return node.op == "call_method" and name in COPIES


def _is_returned_copy(captured: Captured, node: Node) -> bool:
    """Whether the module gives back this copy, or a view of it: its caller may write to it."""
    if node.target != "clone":
        return False
    return any(captured.output in view.users for view in views_of(captured.graph, node))


def _is_type(node: Node) -> bool:
    return any(isinstance(argument, torch.dtype) for argument in (*node.args, *node.kwargs.values()))


def _is_plain(args: Any) -> bool:
    return all(isinstance(argument, bool | int | float) for argument in args)


def _become(captured: Captured, node: Node, constant: str) -> None:
    with captured.graph.inserting_before(node):
        new = captured.graph.get_attr(constant)
    node.replace_all_uses_with(new)
    captured.graph.erase_node(node)


def _replace_by_value(captured: Captured, node: Node, value: Any) -> None:
    """Put a number in the place of a node, wherever it is an argument."""
    for user in list(node.users):
        args, kwargs = torch.fx.node.map_arg((user.args, user.kwargs), lambda one: value if one is node else one)
        user.args, user.kwargs = args, kwargs
    captured.graph.erase_node(node)
