"""Reading calls in a graph: what a node calls, and its arguments by name."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from torch.fx import Node
from torch.nn import functional

from hetconv.graph.allowed import describe
from hetconv.ops import het_conv2d

_CONV_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_CONV_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
PLAIN_CONVOLUTIONS: dict[Any, str] = {functional.conv1d: "1-d", functional.conv2d: "2-d", functional.conv3d: "3-d"}
CONVOLUTIONS: dict[Any, str] = {
    **PLAIN_CONVOLUTIONS,
    functional.conv_transpose1d: "1-d transposed",
    functional.conv_transpose2d: "transposed",
    functional.conv_transpose3d: "3-d transposed",
    het_conv2d: "het",
}
RELU, RELU6 = "relu", "relu6"
ACTIVATIONS = frozenset((RELU, RELU6, "silu", "hardswish", "hardsigmoid", "sigmoid", "gelu"))


def called(node: Any) -> str:
    """What a node calls, without its module: `relu` for torch.relu, functional.relu and tensor.relu alike."""
    if not isinstance(node, Node):
        return ""
    if node.op == "call_method":
        return str(node.target)
    return describe(node.target).rpartition(".")[2] if node.op == "call_function" else ""


def convolution_kind(node: Node) -> str | None:
    """1-d, 2-d, 3-d, transposed or het; None if the node is no convolution."""
    return CONVOLUTIONS.get(node.target) if node.op == "call_function" else None


@cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a convolution or of a Python function by name, defaults filled in."""
    assert callable(node.target)
    if node.target in PLAIN_CONVOLUTIONS:
        given = dict(zip(_CONV_ARGUMENTS, node.args, strict=False))
        return _CONV_DEFAULTS | given | node.kwargs
    bound = _signature(node.target).bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def activation(node: Node) -> str | None:
    """One of `ACTIVATIONS`, in any of the ways of writing it; None if the node is something else."""
    name = called(node)
    if name == "hardtanh" and node.target is functional.hardtanh:
        found = arguments(node)
        return RELU6 if (found["min_val"], found["max_val"]) == (0, 6) else None
    if name in ("clamp", "clip"):
        given = dict(zip(("min", "max"), node.args[1:], strict=False)) | node.kwargs
        bounds = given.get("min"), given.get("max")
        return RELU6 if bounds == (0, 6) else RELU if bounds == (0, None) else None
    if name == "gelu" and (len(node.args) > 1 or node.kwargs.get("approximate", "none") != "none"):
        return None
    return name if name in ACTIVATIONS else None


def is_batch_norm(node: Any) -> bool:
    return isinstance(node, Node) and node.target in (functional.batch_norm, torch.batch_norm)
