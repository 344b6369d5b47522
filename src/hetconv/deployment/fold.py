"""Batch norm folded into the convolution before it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.deployment.graph_convolutions import FOLDABLE, HET, Site
from hetconv.deployment.windows import max_pool_of
from hetconv.graph.calls import arguments, called, is_batch_norm
from hetconv.graph.captured import Captured

BATCH_NORM = "batch norm"
_OPTIONS = ("stride", "padding", "dilation", "groups", "arrangement")


def fold_batch_norms(captured: Captured, sites: list[Site]) -> dict[Node, str]:
    """Fold each batch norm that follows a convolution, or its max pool, into its weights; each site says what became of
    it. Returns the reasons of those that follow one and remain."""
    refused = {}
    users = dict.fromkeys(captured.constants, 0)
    for site in sites:
        for name in site.weights:
            users[name] += 1
    for site in sites:
        norm = _norm_after(site.node) or _norm_after(_pool_after(site.node))
        if norm is not None:
            refusal = _why_not(captured, site, norm, users)
            if refusal is None:
                _fold(captured, site, norm)
                site.joined.append(BATCH_NORM)
            else:
                refused[norm] = f"{BATCH_NORM} not folded: {refusal}"
                site.notes.append(refused[norm])
    captured.drop_unused()
    return refused


def _norm_after(node: Node | None) -> Node | None:
    return None if node is None else next((user for user in node.users if is_batch_norm(user)), None)


def _pool_after(node: Node) -> Node | None:
    """A max pool, which takes the same pixels after a batch norm whose scale is positive."""
    user = next(iter(node.users), None)
    is_pool = user is not None and called(user) == "max_pool2d" and not isinstance(max_pool_of(user), str)
    return user if is_pool else None


def _why_not(captured: Captured, site: Site, norm: Node, users: dict[str, int]) -> str | None:
    given = arguments(norm)
    if site.kind not in FOLDABLE:
        return f"the convolution is {site.kind}"
    if len(site.weights) != (2 if site.kind == HET else 1):
        return "the convolution's weights are computed from the input"
    if given["training"] is not False or given["running_mean"] is None or given["running_var"] is None:
        return "it uses the statistics of the batch"
    source = given["input"]
    if len(site.node.users) > 1 or len(source.users) > 1:
        return "the convolution's output is also used elsewhere"
    count = max(users[name] for name in site.weights)
    if count > 1:
        return f"the convolution's weights are used in {count} places"
    parts = [given[key] for key in ("running_mean", "running_var", "weight", "bias")]
    parts.append(arguments(site.node)["bias"])
    if any(part is not None and captured.constant(part) is None for part in parts):
        return "its statistics or weights are computed from the input"
    weight = _double(captured, given["weight"])
    if source is not site.node and weight is not None and not bool((weight > 0).all()):
        return "a max pool is between, and a scale is not positive"
    return None


def _fold(captured: Captured, site: Site, norm: Node) -> None:
    """w·s and (b − mean)·s + shift with s = scale / √(variance + ε), computed in float64 and rounded once."""
    given = arguments(norm)
    mean, variance = (_double(captured, given[key]) for key in ("running_mean", "running_var"))
    assert mean is not None
    assert variance is not None
    scale = (variance + given["eps"]).rsqrt()
    weight, shift = (_double(captured, given[key]) for key in ("weight", "bias"))
    if weight is not None:
        scale = scale * weight
    old = None if site.bias is None else captured.constants[site.bias].double()
    bias = (mean.neg() if old is None else old - mean) * scale
    if shift is not None:
        bias = bias + shift
    dtype = captured.constants[site.weights[0]].dtype
    names = []
    for name in site.weights:
        value = captured.constants[name]
        folded = value.double() * scale.view(-1, *[1] * (value.dim() - 1))
        names.append(captured.add_constant(f"{name}.folded", folded.to(dtype)))
    names.append(captured.add_constant(f"{site.name}.bias.folded", bias.to(dtype)))
    graph = captured.graph
    with graph.inserting_before(site.node):
        *weights, folded_bias = (graph.get_attr(name) for name in names)
    options = {key: value for key, value in arguments(site.node).items() if key in _OPTIONS}
    site.node.args, site.node.kwargs = (site.node.args[0], *weights, folded_bias), options
    site.weights, site.bias = tuple(names[:-1]), names[-1]
    norm.replace_all_uses_with(given["input"])
    graph.erase_node(norm)


def _double(captured: Captured, node: Node | None) -> Tensor | None:
    value = captured.constant(node)
    return None if value is None else value.to(torch.float64)
