"""Convolutions onto the packed operator, with what joins them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from hetconv.deployment.choose import Chooser, Work
from hetconv.deployment.graph_convolutions import HET, Layer, Site, layer_of, natural_weights
from hetconv.graph.allowed import PACKED, functions
from hetconv.graph.captured import Captured
from hetconv.graph.fusing import Chain, find_chain
from hetconv.graph.shapes import shapes_of
from hetconv.ops.native import Algorithm, choose_algorithm, pack_weights
from hetconv.ops.packed import layer_numbers
from hetconv.pattern import HetPattern


def lower(captured: Captured, sites: list[Site], chooser: Chooser) -> None:
    """Put every HetConv layer onto the packed operator, and standard convolutions where that is faster.

    HetConv layers come first, so that an addition of two convolutions joins one that is sure to take it. Calls of one
    standard convolution are decided together, so that its weights are kept once.
    """
    by_weights: dict[tuple[str, ...], list[Site]] = {}
    for site in sorted(sites, key=lambda site: site.kind != HET):
        by_weights.setdefault(site.weights or (site.node.name,), []).append(site)
    for calls in by_weights.values():
        layers = [layer_of(captured, site) for site in calls]
        refused = [layer for layer in layers if isinstance(layer, str)]
        if refused:
            for site, layer in zip(calls, layers, strict=True):
                site.notes.append(layer if isinstance(layer, str) else f"another call of it cannot: {refused[0]}")
        elif calls[0].kind == HET or _native_wins(captured, calls, layers, chooser):
            packed: dict[tuple[HetPattern, Algorithm], str] = {}
            for site, layer in zip(calls, layers, strict=True):
                assert isinstance(layer, Layer)
                site.algorithm = _algorithm(site, layer)
                key = layer.pattern, site.algorithm
                if key not in packed:
                    packed[key] = _packed(captured, site, *key)
                _replace(captured, site, layer, find_chain(captured, site.node), packed[key])
        else:
            for site in calls:
                site.notes.append("PyTorch's kernel is faster")
    captured.drop_unused()


def _native_wins(captured: Captured, calls: list[Site], layers: Sequence[Layer | str], chooser: Chooser) -> bool:
    """Whether all calls of one convolution together are faster on the packed operator; it has those that are not
    certain, as bias, residual and activation join it."""
    works = []
    for site, layer in zip(calls, layers, strict=True):
        chain, given = find_chain(captured, site.node), shapes_of(site.node.args[0])
        assert given is not None
        assert isinstance(layer, Layer)
        site.work = Work(layer.pattern, layer.where, given.example, chain.residual is not None, chain.activation)
        works.append(site.work)
    wins = chooser.native_wins(works)
    for site, work in zip(calls, works, strict=True):
        site.times = chooser.found.get(work)
        if site.times is not None and not site.times.certain:
            site.notes.append("neither kernel is faster for certain")
    return wins


def _replace(captured: Captured, site: Site, layer: Layer, chain: Chain, name: str) -> None:
    graph, x = captured.graph, site.node.args[0]
    numbers = layer_numbers(layer.pattern, layer.where, chain.activation)
    with graph.inserting_before(chain.last):
        packed = graph.get_attr(name)
        bias = None if site.bias is None else graph.get_attr(site.bias)
        node = graph.call_function(functions()[PACKED], (x, packed, bias, chain.residual, numbers))
    node.meta = dict(chain.last.meta)
    chain.last.replace_all_uses_with(node)
    for old in reversed(chain.nodes):
        graph.erase_node(old)
    site.node, site.runs_on = node, "native"
    site.joined += chain.joined
    if chain.reason is not None:
        site.notes.append(chain.reason)


def _algorithm(site: Site, layer: Layer) -> Algorithm:
    """The faster one for the example."""
    given = shapes_of(site.node.args[0])
    assert given is not None
    batch, _, height, width = given.example
    return choose_algorithm(layer.pattern, layer.where, (batch, height, width))


def _packed(captured: Captured, site: Site, pattern: HetPattern, algorithm: Algorithm) -> str:
    """The name of the weights' packed form, a new constant."""
    with torch.no_grad():
        packed = pack_weights(*natural_weights(captured, site), pattern, algorithm)
    name = captured.add_constant(site.name or "convolution", packed)
    captured.packed[name] = pattern
    return name


def is_packed_call(node: Node) -> bool:
    """Whether a node calls the packed operator."""
    return node.op == "call_function" and node.target is functions().get(PACKED)
