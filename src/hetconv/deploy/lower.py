"""Convolutions onto the packed operator, with what joins them."""

from __future__ import annotations

import torch
from torch.fx import Node

from hetconv.deploy.allowed import PACKED, functions
from hetconv.deploy.captured import Captured
from hetconv.deploy.choose import Chooser, Work
from hetconv.deploy.fuse import Chain, find_chain
from hetconv.deploy.shapes import shapes_of
from hetconv.deploy.sites import HET, Layer, Site, layer_of, natural_weights
from hetconv.ops.native import pack_weights
from hetconv.ops.packed import layer_numbers


def lower(captured: Captured, sites: list[Site], chooser: Chooser) -> None:
    """Put every HetConv layer onto the packed operator, and standard convolutions where that is faster.

    HetConv layers come first, so that an addition of two convolutions joins one that is sure to take it.
    """
    for site in sorted(sites, key=lambda site: site.kind != HET):
        layer = layer_of(captured, site)
        if isinstance(layer, str):
            site.notes.append(layer)
            continue
        chain = find_chain(captured, site)
        if site.kind != HET:
            given = shapes_of(site.node.args[0])
            assert given is not None
            work = Work(layer.pattern, layer.where, given.example, chain.residual is not None, chain.activation)
            site.times = chooser.times(work)
            if not site.times.native_wins:
                site.notes.append("PyTorch's kernel is faster")
                continue
        _replace(captured, site, layer, chain)
        site.joined += chain.joined
        site.runs_on = "native"
        if chain.reason is not None:
            site.notes.append(chain.reason)
    captured.drop_unused()


def _replace(captured: Captured, site: Site, layer: Layer, chain: Chain) -> None:
    graph, x = captured.graph, site.node.args[0]
    name = _packed(captured, site, layer)
    numbers = layer_numbers(layer.pattern, layer.where, chain.activation)
    with graph.inserting_before(chain.last):
        packed = graph.get_attr(name)
        bias = None if site.bias is None else graph.get_attr(site.bias)
        node = graph.call_function(functions()[PACKED], (x, packed, bias, chain.residual, numbers))
    node.meta = dict(chain.last.meta)
    chain.last.replace_all_uses_with(node)
    for old in reversed(chain.nodes):
        graph.erase_node(old)
    site.node = node


def _packed(captured: Captured, site: Site, layer: Layer) -> str:
    """The name of the site's packed weights, which calls of one layer share."""
    name = f"{'+'.join(site.weights)}.packed"
    if name not in captured.constants:
        with torch.no_grad():
            captured.constants[name] = pack_weights(*natural_weights(captured, site), layer.pattern)
        captured.packed[name] = layer.pattern
    return name


def is_packed_call(node: Node) -> bool:
    """Whether a node calls the packed operator."""
    return node.op == "call_function" and node.target is functions().get(PACKED)
