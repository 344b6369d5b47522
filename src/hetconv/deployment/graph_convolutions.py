"""The convolutions of a graph, as layers that can be folded into, fused and packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.deployment.choose import Times, Work
from hetconv.errors import UsageError
from hetconv.graph.calls import arguments, called, convolution_kind, module_of
from hetconv.graph.captured import Captured
from hetconv.graph.folding import Outcome
from hetconv.graph.operations import WEIGHTS
from hetconv.graph.shapes import shapes_of
from hetconv.ops.arguments import Geometry, geometry, pattern_of
from hetconv.ops.native import Algorithm
from hetconv.pattern import HetPattern

HET = "het"
BATCH_NORM = "batch norm"
RunsOn = Literal["native", "PyTorch"]


@dataclass
class Site:
    """One call of a convolution, and what is done with it.

    Attributes:
        name: the module that makes the call.
        kind: het, 2-d, 1-d, 3-d or transposed.
        layer: what it is, in words.
        weights: the constants of its weights, two of a het layer.
        joined: what became one with it.
        notes: why it does not run on the native kernels, or why something next to it did not join it.
        algorithm: of the native kernels.
        work: what is measured, of standard convolutions, and
        times: what was measured.
    """

    name: str
    kind: str
    layer: str
    node: Node
    weights: tuple[str, ...]
    bias: str | None
    joined: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs_on: RunsOn = "PyTorch"
    algorithm: Algorithm | None = None
    work: Work | None = None
    times: Times | None = None


@dataclass(frozen=True)
class Layer:
    """A convolution that the packed operator can run."""

    pattern: HetPattern
    where: Geometry


def find_sites(captured: Captured, norms: Sequence[Outcome]) -> list[Site]:
    """Every convolution call of the graph, in order, with what became of the batch norm after it."""
    after = {outcome.layer: outcome.reason for outcome in norms}
    found = []
    for node in captured.graph.nodes:
        kind = convolution_kind(node)
        if kind is not None:
            given = {key: _constant_name(captured, value) for key, value in arguments(node).items()}
            weights = tuple(name for key in WEIGHTS[called(node)] if (name := given[key]) is not None)
            layer = _words(kind, [captured.constants[name] for name in weights])
            site = Site(module_of(node), kind, layer, node, weights, given["bias"])
            if node in after:
                reason = after[node]
                (site.joined if reason is None else site.notes).append(_noted(reason))
            found.append(site)
    return found


def _noted(reason: str | None) -> str:
    return BATCH_NORM if reason is None else f"{BATCH_NORM} not folded: {reason}"


def layer_of(captured: Captured, site: Site) -> Layer | str:
    """The layer that the packed operator would run, or why it cannot."""
    found = shapes_of(site.node.args[0])
    if site.kind not in (HET, "2-d"):
        return f"{site.kind}: the kernels are for 2-d convolution"
    given = arguments(site.node)
    if len(site.weights) != (2 if site.kind == HET else 1) or (given["bias"] is not None and site.bias is None):
        return "its weights are computed from the input"
    weights = [captured.constants[name] for name in site.weights]
    if found is None or len(found.example) != 4:
        return "its input is no batch of images"
    if found.dtype != torch.float32 or any(weight.dtype != torch.float32 for weight in weights):
        return f"its input is {found.dtype} and its weight {weights[0].dtype}; the kernels compute in float32"
    if site.kind == HET:
        pattern = pattern_of(weights[0].shape, weights[1].shape, given["arrangement"])
    else:
        channels, kernel = weights[0].shape[1], tuple(weights[0].shape[2:])
        if given["groups"] != 1:
            depthwise = "depthwise" if channels == 1 else f"grouped (groups={given['groups']})"
            return f"{depthwise}: the kernels are for ungrouped convolution"
        if min(k % 2 for k in kernel) == 0:
            return f"kernel_size={kernel} is even, without a centre tap"
        pattern = HetPattern(channels, weights[0].shape[0], (kernel[0], kernel[1]), 1)
    try:
        where = geometry(
            _plain(given["stride"]), _plain(given["padding"]), _plain(given["dilation"]), pattern.kernel_hw
        )
    except UsageError as error:
        return str(error)
    return Layer(pattern, where)


def natural_weights(captured: Captured, site: Site) -> tuple[Tensor, Tensor]:
    """(N, M/P, K, K) and (N, M − M/P); the second is empty for a standard convolution."""
    first = captured.constants[site.weights[0]]
    second = captured.constants[site.weights[1]] if site.kind == HET else first.new_empty(first.shape[0], 0)
    return first, second


def _words(kind: str, weights: list[Tensor]) -> str:
    if not weights:
        return kind
    first = weights[0]
    out_channels, in_channels, *kernel = first.shape
    sizes = "×".join(map(str, kernel))
    if kind != HET:
        return f"{kind} {in_channels}→{out_channels} {sizes}"
    every = in_channels + weights[1].shape[1]
    return f"het P{every // in_channels} {every}→{out_channels} {sizes}"


def _plain(value: Any) -> Any:
    """fx's own lists and tuples as Python's; one number in a list stands for both."""
    if isinstance(value, list | tuple):
        return tuple(value) * 2 if len(value) == 1 else tuple(value)
    return value


def _constant_name(captured: Captured, value: Any) -> str | None:
    return None if captured.constant(value) is None else str(value.target)
