"""Batch norm folded into the convolution or linear layer before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from hetconv.errors import UsageError
from hetconv.layout.capture import capture
from hetconv.nn import HetConv2d

WEIGHTS: dict[type[nn.Module], tuple[str, ...]] = {
    HetConv2d: ("weight_spatial", "weight_pointwise"), nn.Conv2d: ("weight",), nn.Linear: ("weight",)
}  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Folding:
    """Which batch norms were folded, and why the others were not, as (name, reason)."""

    folded: tuple[str, ...]
    left: tuple[tuple[str, str], ...]


def fold_batch_norms_(model: nn.Module) -> Folding:
    """Fold what can be folded, in place; the model must be in evaluation mode. Outputs differ by rounding only.

    A model that torch.fx cannot capture keeps all of its batch norms.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, NORMS)}
    if not norms:
        return Folding((), ())
    try:
        graph = capture(model)
    except UsageError as error:
        return Folding((), tuple((name, str(error)) for name in norms))
    modules = dict(model.named_modules(remove_duplicate=False))
    nodes = {str(node.target): node for node in graph.nodes if node.op == "call_module"}
    called = Counter(modules[str(node.target)] for node in graph.nodes if node.op == "call_module")
    folded, left = [], []
    for name, norm in norms.items():
        reason = _why_not(norm, nodes.get(name), modules, called)
        if reason is not None:
            left.append((name, reason))
            continue
        before = nodes[name].all_input_nodes[0]
        _fold(modules[str(before.target)], norm)
        _replace(model, norm, nn.Identity())
        folded.append(name)
    return Folding(tuple(folded), tuple(left))


def _why_not(norm: Any, node: fx.Node | None, modules: dict[str, nn.Module], called: Counter[nn.Module]) -> str | None:
    if type(norm) not in NORMS:
        return f"{type(norm).__module__}.{type(norm).__name__} may do more than batch norm"
    if node is None:
        return "it is not called"
    if norm.running_mean is None:
        return "it keeps no running statistics"
    before = node.all_input_nodes[0]
    layer = modules[str(before.target)] if before.op == "call_module" else None
    if layer is None or type(layer) not in WEIGHTS:
        return f"no convolution or linear layer is before it, but {before.name}"
    if called[norm] > 1 or called[layer] > 1:
        return "it or the layer before it is called more than once"
    if len(before.users) > 1:
        return f"{before.target} is also read elsewhere"
    return None


def _fold(layer: Any, norm: Any) -> None:
    """Scale each filter and shift its bias; computed in float64, rounded once."""
    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        for name in WEIGHTS[type(layer)]:
            weight: Tensor = getattr(layer, name)
            folded = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
            setattr(layer, name, nn.Parameter(folded.to(weight.dtype)))
        bias = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
        shift = bias * scale if norm.bias is None else bias * scale + norm.bias.double()
        layer.bias = nn.Parameter(shift.to(norm.running_mean.dtype))


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent, key in tuple(_places(model, old)):
        parent._modules[key] = new


def _places(model: nn.Module, module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child is module:
                yield parent, key
