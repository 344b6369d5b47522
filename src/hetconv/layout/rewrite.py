"""Permuting a network's weights, and gathering channels where permuting weights is not enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from hetconv.errors import UsageError
from hetconv.graph.module_graph import Traced
from hetconv.graph.operations import WEIGHTS
from hetconv.layout.flow import Flow, HetCalls, Move
from hetconv.layout.order import Order, between, identity
from hetconv.layout.solve import Orders
from hetconv.nn import HetConv2d
from hetconv.ops.weights import from_dense_weight, to_dense_weight
from hetconv.pattern import Arrangement

_HET_TENSORS = (*WEIGHTS["het_conv2d"], "bias")
Permutations = dict[str, dict[int, Order]]
"""Tensor → dimension → order."""


@dataclass(frozen=True)
class Gather:
    """Channels of a tensor gathered into another order, in the graph and before or behind `node`."""

    graph: int
    node: fx.Node
    value: fx.Node
    dim: int
    order: Order
    why: str


def gathers_of(flow: Flow, orders: Orders) -> tuple[Gather, ...]:
    """The moves that do change an order.

    Raises:
        UsageError: one is not possible: how many features each channel has is not known there.
    """
    found = []
    for move in flow.moves:
        order = _gather_order(move, orders)
        if order != identity(len(order)):
            if move.inner is None:
                raise UsageError(f"{move.why}, and how many features each channel has there is not known")
            found.append(Gather(move.graph, move.node, move.value, move.dim, order, move.why))
    return tuple(found)


def _gather_order(move: Move, orders: Orders) -> Order:
    segments = move.source if move.source is not None else move.target
    assert segments is not None
    features = sum(space.channels for space in segments) * (1 if move.inner is None else move.inner)
    return between(orders.of(move.source, features), orders.of(move.target, features))


def permutations_of(flow: Flow, orders: Orders) -> Permutations:
    """Every tensor that changes, by name."""
    found: Permutations = {}
    tensors = _state(flow.model)
    for axis in flow.axes.values():
        order = orders.of(axis.segments, tensors[axis.tensor].shape[axis.axis])
        if order != identity(len(order)):
            found.setdefault(axis.tensor, {})[axis.axis] = order
    return found


def _state(model: nn.Module) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(model.named_buffers(remove_duplicate=False))}


def why_not(flow: Flow, permutations: Mapping[str, object], moved: list[HetCalls]) -> str | None:
    """Why weights cannot be permuted: a tensor that must change is also somewhere where it must not."""
    layers = {f"{calls.name}.{key}" for calls in moved for key in _HET_TENSORS}
    held: dict[int, list[str]] = {}
    for name, tensor in flow.model.named_parameters(remove_duplicate=False):
        held.setdefault(id(tensor), []).append(name)
    for names in held.values():
        changes = {str(permutations.get(name, name in layers)) for name in names}
        if len(changes) > 1:
            return f"{' and '.join(names)} are one parameter, which would have to be in two orders"
    for name, reader in flow.natural.items():
        if name in permutations or name in layers:
            return f"{name} would change, but is also read where channels keep their order ({reader})"
    for calls in flow.het.values():
        for name in (f"{calls.name}.{key}" for key in _HET_TENSORS):
            if name in permutations:
                return f"{name} would change, but is also read by a function"
    changed = {name.rpartition(".")[0] for name in (*permutations, *layers)}
    for name in changed:
        module = flow.modules[name]
        if module._forward_pre_hooks or module._forward_hooks:
            return f"{name} has a forward hook, which would meet channels in another order; remove it first"
    return None


def permute(flow: Flow, permutations: Permutations, orders: Orders, to: Arrangement) -> None:
    """Change the flow's model: its weights, and the arrangement of its HetConv layers."""
    seen: set[int] = set()
    state = _state(flow.model)
    with torch.no_grad():
        for name, axes in permutations.items():
            if id(state[name]) not in seen:
                seen.add(id(state[name]))
                for axis, order in axes.items():
                    state[name].copy_(state[name].index_select(axis, _index(order, state[name])))
        for calls in orders.moved:
            _rearrange(calls, orders, to)
    for module in flow.modules.values():
        if isinstance(module, HetConv2d):
            module.arrangement, module.pattern = to, module.pattern.rearranged(to)


def _rearrange(calls: HetCalls, orders: Orders, to: Arrangement) -> None:
    layer = calls.layer
    filters = _index(orders.of(calls.target, layer.out_channels), layer.weight_spatial)
    channels = _index(orders.of(calls.source, layer.in_channels), layer.weight_spatial)
    dense = to_dense_weight(*layer.weights(), layer.pattern)
    dense = dense.index_select(0, filters).index_select(1, channels)
    spatial, pointwise = from_dense_weight(dense, layer.pattern.rearranged(to))
    for weight, moved in zip(layer.weights(), (spatial, pointwise), strict=True):
        weight.copy_(moved)
    if layer.bias is not None:
        layer.bias.copy_(layer.bias.index_select(0, filters))


def _index(order: Order, like: Tensor) -> Tensor:
    return torch.tensor(order, device=like.device)


def gather_channels(x: Tensor, dim: int, order: Tensor) -> Tensor:
    """The channels of a tensor in another order; a tensor that is broadcast over channels stays as it is."""
    return x if x.dim() < -dim or x.shape[dim] == 1 else x.index_select(dim, order)


def gathered(model: nn.Module, traced: Traced, gathers: tuple[Gather, ...], number: int) -> fx.GraphModule:
    """The model as a graph with these gathers in it.

    Args:
        number: which of the flow's graphs this is.

    Raises:
        UsageError: the model writes in place to what it reads under another name, which a gathered copy would miss.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    names: dict[Order, str] = {}
    here = [gather for gather in gathers if gather.graph == number]
    for gather in sorted(here, key=lambda gather: gather.value is gather.node):  # inputs before a layer's output
        if gather.order not in names:
            names[gather.order] = f"_channel_order_{len(names)}"
            model.register_buffer(names[gather.order], torch.tensor(gather.order, device=device), persistent=False)
        _insert(traced.graph, gather, names[gather.order])
    traced.graph.lint()
    module = traced.module(model)
    for name in names.values():
        delattr(model, name)
    return module


def _insert(graph: fx.Graph, gather: Gather, name: str) -> None:
    behind = gather.value is gather.node
    with graph.inserting_after(gather.node) if behind else graph.inserting_before(gather.node):
        order = graph.get_attr(name)
    with graph.inserting_after(order):
        node = graph.call_function(gather_channels, (gather.value, gather.dim, order))
    if behind:
        gather.node.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
    else:
        gather.node.replace_input_with(gather.value, node)
