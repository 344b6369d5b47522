"""A model as a graph of its modules and of the functions between them."""

from __future__ import annotations

import copy
from typing import Any

from torch import fx, nn

from hetconv.errors import UsageError
from hetconv.nn import HetConv2d

WAY_OUT = "make its forward traceable by torch.fx, or move the part of it that is"


class _Tracer(fx.Tracer):
    """PyTorch's own modules and HetConv layers are nodes; everything else is traced into."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, HetConv2d) or super().is_leaf_module(m, module_qualified_name)


def capture(model: nn.Module) -> fx.Graph:
    """The graph of the model in its present mode.

    Raises:
        UsageError: it cannot be traced; the message says what stood in the way.
    """
    try:
        return _Tracer().trace(model)
    except Exception as error:
        first = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{type(model).__name__} cannot be captured by torch.fx ({type(error).__name__}: {first}); {WAY_OUT}"
        ) from error


def copied(model: nn.Module) -> nn.Module:
    """A copy of the model that shares nothing with it.

    Raises:
        UsageError: it cannot be copied; the message says why.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        raise UsageError(f"{type(model).__name__} cannot be copied: {type(error).__name__}: {told}") from error


def place(node: fx.Node) -> str:
    """A node in words: a module's name, or the function and the module around it."""
    if node.op == "call_module":
        return str(node.target)
    if node.op == "placeholder":
        return f"the network's input {node.target}"
    if node.op == "output":
        return "the network's output"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    around = _around(node)
    return f"{name} in {around}" if around else str(name)


def _around(node: fx.Node) -> str:
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    return list(stack)[-1] if stack else ""
