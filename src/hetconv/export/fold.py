"""Batch norm folded into the convolution or linear layer before it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.layout.module_graph import Traced, capture
from hetconv.layout.operations import SHAPE_ONLY
from hetconv.nn import HetConv2d

WEIGHTS: dict[type[nn.Module], tuple[str, ...]] = {
    HetConv2d: ("weight_spatial", "weight_pointwise"), nn.Conv2d: ("weight",), nn.Linear: ("weight",)
}  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Folding:
    """Which batch norms were folded, and why the others were not, as (name, reason)."""

    folded: tuple[str, ...]
    left: tuple[tuple[str, str], ...]


def fold_batch_norms(model: nn.Module) -> tuple[nn.Module, Folding]:
    """The model with its batch norms folded where they can be; it must be in evaluation mode, and is used up.

    Outputs differ by rounding only. Batch norms that a model of another library calls by function are
    folded too, and the model is a torch.fx.GraphModule then. What torch.fx cannot capture keeps all of its batch norms.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, NORMS)}
    if not norms:
        return model, Folding((), ())
    try:
        traced = capture(model)
    except UsageError as error:
        return model, Folding((), tuple((name, str(error)) for name in norms))
    found = _Graph(model, traced)
    folded, left = [], []
    for name, norm in norms.items():
        node = found.normalizing.get(norm)
        reason = "it is not called" if node is None else found.why_not(node, norm)
        if reason is not None or node is None:
            left.append((name, str(reason)))
        else:
            found.fold(node, norm)
            folded.append(name)
    return found.result(), Folding(tuple(folded), tuple(left))


class _Graph:
    """A captured model, and which node of it does the work of which batch norm."""

    def __init__(self, model: nn.Module, traced: Traced) -> None:
        self.model, self.traced, self.graph = model, traced, traced.graph
        self.modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
        self.called = Counter(self.modules[str(node.target)] for node in self.graph.nodes if node.op == "call_module")
        self.normalizing: dict[nn.Module, fx.Node] = {}
        self.by_function = False
        for node in self.graph.nodes:
            norm = self._norm(node)
            if norm is not None:
                self.normalizing[norm] = node
                self.called[norm] += node.op == "call_function"

    def _norm(self, node: Any) -> nn.Module | None:
        """The batch norm whose work a node does."""
        if node.op == "call_module":
            return self.modules[str(node.target)]
        if node.target is not functional.batch_norm:
            return None
        holders = {str(arg.target).rpartition(".")[0] for arg in node.all_input_nodes[1:] if arg.op == "get_attr"}
        return self.modules[holders.pop()] if len(holders) == 1 else None

    def why_not(self, node: fx.Node, norm: Any) -> str | None:
        """Why a batch norm cannot be folded; None if it can."""
        if any(getattr(norm, name) is None for name in STATISTICS):
            return "it keeps no running statistics"
        before = node.all_input_nodes[0]
        layer = self.modules[str(before.target)] if before.op == "call_module" else None
        if layer is None or type(layer) not in WEIGHTS:
            return f"no convolution or linear layer is before it, but {before.name}"
        if self.called[norm] > 1 or self.called[layer] > 1:
            return "it or the layer before it is called more than once"
        if len([user for user in before.users if user.target not in SHAPE_ONLY]) > 1:
            return f"{before.target} is also read elsewhere"
        if node.op == "call_function" and self.traced.why_no_values is not None:
            return self.traced.why_no_values
        return None

    def fold(self, node: fx.Node, norm: nn.Module) -> None:
        before = node.all_input_nodes[0]
        _fold(self.modules[str(before.target)], norm)
        if node.op == "call_module":
            _replace(self.model, norm, nn.Identity())
        else:
            node.replace_all_uses_with(before)
            self.graph.erase_node(node)
            self.by_function = True

    def result(self) -> nn.Module:
        if not self.by_function:
            return self.model
        return self.traced.module(self.model).eval()


def _fold(layer: Any, norm: Any) -> None:
    """Scale each filter and shift its bias; computed in float64, rounded once."""
    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        for name in WEIGHTS[type(layer)]:
            weight: Tensor | None = getattr(layer, name)
            if weight is None:  # the pointwise ones of a HetConv layer with P=1
                continue
            folded = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
            setattr(layer, name, nn.Parameter(folded.to(weight.dtype)))
        bias = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
        shift = bias * scale if norm.bias is None else bias * scale + norm.bias.double()
        layer.bias = nn.Parameter(shift.to(norm.running_mean.dtype))


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is old:
                parent._modules[key] = new
