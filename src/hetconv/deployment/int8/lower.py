"""A captured graph as the steps of one native network in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from hetconv.deployment.channel_steps import concatenate, concatenated
from hetconv.deployment.graph_convolutions import Layer, Site, layer_of, natural_weights
from hetconv.deployment.int8.ranges import Observed
from hetconv.deployment.joined_steps import JOININGS, join
from hetconv.deployment.step_values import Known, NotAStepError
from hetconv.deployment.steps import OPERATIONS, RESIZING, Lowering
from hetconv.graph.calls import activation, arguments, called
from hetconv.graph.captured import Captured, call
from hetconv.graph.fusing import Chain, find_chain
from hetconv.graph.operations import ARITHMETIC, ELEMENTWISE
from hetconv.graph.shapes import shapes_of
from hetconv.ops import network_steps as network
from hetconv.ops.arguments import Geometry
from hetconv.ops.network_steps import Affine, Int8Weights
from hetconv.ops.weights import to_dense_weight
from hetconv.pattern import HetPattern

IN_KERNEL = (None, "relu", "relu6")
MOST_BIAS = 2.0**29
"""Of a bias, in units of a product of 8 bits: sums stay within 32 bits."""


@dataclass(frozen=True)
class Fused:
    """A layer with what joins it: a convolution, or a linear layer as a convolution of one pixel."""

    name: str
    last: Node
    value: Node
    layer: Layer
    spatial: Tensor
    pointwise: Tensor
    bias: Tensor
    residual: Node | None
    activation: str | None
    site: Site | None = None


@dataclass(frozen=True)
class Layers:
    """A graph's convolutions and linear layers.

    Attributes:
        in_int8: those that the kernels of 8 bits compute, by the last node that joins them.
        in_float32: the name of each other one, and the reason, by its node.
    """

    in_int8: dict[Node, Fused]
    in_float32: dict[Node, tuple[str, str]]


def find_layers(captured: Captured, sites: list[Site]) -> Layers:
    found = Layers({}, {})
    taken: set[Node] = set()
    for site in sites:
        layer = layer_of(captured, site)
        if isinstance(layer, str):
            found.in_float32[site.node] = site.name or site.node.name, layer
            continue
        chain = _free(find_chain(captured, site.node), taken)
        taken.update(chain.nodes)
        site.joined += chain.joined
        value = site.node.args[0]
        assert isinstance(value, Node)
        spatial, pointwise = natural_weights(captured, site)
        bias = torch.zeros(layer.pattern.out_channels) if site.bias is None else captured.constants[site.bias]
        found.in_int8[chain.last] = Fused(
            site.name, chain.last, value, layer, spatial, pointwise, bias, chain.residual, chain.activation, site
        )
    for node in captured.graph.nodes:
        fused = _linear(captured, node) if called(node) == "linear" else None
        if fused is not None:
            found.in_int8[fused.last] = fused
    return found


def _free(chain: Chain, taken: set[Node]) -> Chain:
    """The part of a chain that no other layer has taken, and that the kernels of 8 bits compute."""
    first = chain.nodes[0]
    if any(node in taken for node in chain.nodes):
        return Chain(first, (first,), None, None, "another layer takes the addition")
    if chain.activation in IN_KERNEL:
        return chain
    return Chain(chain.nodes[-2], chain.nodes[:-1], chain.residual, None, f"{chain.activation} is looked up")


def _linear(captured: Captured, node: Node) -> Fused | None:
    """None where the weights are computed from the input, or the input is no value of the graph."""
    given = arguments(node)
    weight, bias = captured.constant(given["weight"]), captured.constant(given["bias"])
    source = given["input"]
    if weight is None or (given["bias"] is not None and bias is None) or not isinstance(source, Node):
        return None
    out_channels, in_channels = weight.shape
    pattern = HetPattern(in_channels, out_channels, 1, 1)
    user = next(iter(node.users)) if len(node.users) == 1 else None
    kind = None if user is None else activation(user)
    last = user if user is not None and kind in ("relu", "relu6") else node
    return Fused(
        node.name, last, source, Layer(pattern, Geometry()), weight[:, :, None, None],
        weight.new_empty(out_channels, 0), torch.zeros(out_channels) if bias is None else bias, None,
        kind if last is user else None,
    )  # fmt: skip


class Int8Lowering(Lowering):
    """Writes layers and operations in 8 bits, and those that have no such form in float32.

    Args:
        channels: of the images.
        ranges: what u8 stands for, of each value that may be one.
        observed: of the layers' inputs; with it biases are corrected by the mean of what rounding of weights changes.
        first_layer: whether layers that read the images are of 8 bits too.
    """

    def __init__(
        self, captured: Captured, channels: int, layers: Layers, ranges: Mapping[Node, Affine],
        observed: Mapping[Node, Observed] | None, first_layer: bool,
    ) -> None:  # fmt: skip
        super().__init__(captured, channels)
        self.layers, self.ranges, self.observed, self.first_layer = layers, ranges, observed, first_layer
        self.inner = {node for fused in layers.in_int8.values() for node in chain_nodes(fused)}
        self.last_linear = next((n for n in reversed(captured.graph.nodes) if called(n) == "linear"), None)
        self.uint8: dict[Node, Known] = {}
        self.in_int8 = 0
        self.in_float32: dict[str, str] = {}

    def _visit(self, node: Node) -> None:
        if node not in self.inner:
            super()._visit(node)

    def _call(self, node: Node) -> Any:
        fused = self.layers.in_int8.get(node)
        if fused is not None:
            return self._layer(fused)
        if activation(node) is None and self._is_looked_up(node):
            return self._looked_up(node)
        before = len(self.steps)
        found = super()._call(node)
        made = [step.kind for step in self.steps[before:]]
        if node in self.layers.in_float32:
            name, reason = self.layers.in_float32[node]
            self.in_float32[name] = reason
        elif made and made[0] == "dequantize":
            self.in_float32[node.name] = "it has no form of 8 bits"
        return found

    def preferred(self, node: Any) -> Known:
        return self._uint8(node)

    def _uint8(self, node: Any) -> Known:
        value = self.value(node)
        if value.of is None and node not in self.uint8:
            to = self.ranges[node]
            made = self.add(network.quantize(value.number, to), value.channels, value, value.one_pixel, to)
            self.uint8[node] = made
        return self.uint8[node] if value.of is None else value

    def _layer(self, fused: Fused) -> Known:
        flat = self.value(fused.value).flat
        if flat != (fused.site is None):
            raise NotAStepError("its input has other dimensions than the layer's")
        reason = self._why_float32(fused)
        if reason is not None:
            self.in_float32[fused.name] = reason
            return self._layer_in_float32(fused, flat)
        return self._layer_in_int8(fused, flat)

    def _layer_in_float32(self, fused: Fused, flat: bool) -> Known:
        pattern, where = fused.layer.pattern, fused.layer.where
        value = self.float32(fused.value)
        residual = None if fused.residual is None else self.float32(fused.residual).number
        step = network.float_convolution(
            value.number, pattern, fused.spatial, fused.pointwise, fused.bias, where, fused.activation, residual
        )
        one_pixel = value.one_pixel and where.padding == (0, 0)
        return replace(self.add(step, pattern.out_channels, one_pixel=one_pixel), flat=flat)

    def _layer_in_int8(self, fused: Fused, flat: bool) -> Known:
        pattern, where = fused.layer.pattern, fused.layer.where
        value, of = self.value(fused.value), self.ranges[fused.value]
        quantizes = value.of is None and pattern.p == 1 and pattern.in_channels <= network.MOST_FLOAT_CHANNELS
        if not quantizes:
            value = self._uint8(fused.value)
            assert value.of is not None
            of = value.of
        added = None if fused.residual is None else _pair(self._uint8(fused.residual))
        weights = quantized_weights(fused, of)
        bias = fused.bias.double()
        if self.observed is not None:
            bias = bias - weight_error(fused, weights) @ self.observed[fused.value].mean
        to = None if self._is_read_in_float32(fused.last) else self.ranges[fused.last]
        step = network.int8_convolution(
            value.number, of, weights, bias, where, to, added, fused.activation, from_float=quantizes
        )
        self.in_int8 += 1
        one_pixel = value.one_pixel and where.padding == (0, 0)
        return replace(self.add(step, pattern.out_channels, one_pixel=one_pixel, of=to), flat=flat)

    def _why_float32(self, fused: Fused) -> str | None:
        if self.value(fused.value).number == 0 and not self.first_layer:
            return "the first layer, which 8 bits would cost accuracy"
        if called(fused.last) == "linear" and fused.last is self.last_linear:
            return "the classifier: its output is the network's"
        return None

    def _is_read_in_float32(self, node: Node) -> bool:
        """Whether all that read it, resized perhaps, are convolutions without a form of 8 bits or the output."""
        return all(
            user.op == "output" or user in self.layers.in_float32
            or (called(user) in RESIZING and self._is_read_in_float32(user))
            for user in node.users
        )  # fmt: skip

    def _activation(self, node: Node, kind: str) -> Known:
        value = self.value(node.args[0])
        if value.of is None and value.number != 0:
            return super()._activation(node, kind)
        if kind not in ("relu", "relu6"):
            return self._looked_up(node)
        return self._added([self._uint8(node.args[0])], node, kind)

    def _added(self, values: list[Known], node: Node, kind: str | None = None, negative: bool = False) -> Known:
        """Their sum, or, of two, their difference."""
        to, terms = self.ranges[node], [_pair(value) for value in values]
        if negative:
            number, of = terms[1]
            terms[1] = number, Affine(-of.scale, of.zero)
        return self.add(network.add(terms, to, kind), values[0].channels, values[0], of=to)

    def _is_looked_up(self, node: Node) -> bool:
        """Whether it is a function of each number of one value; of one of float32 only if no step computes it there."""
        if called(node) not in ELEMENTWISE | ARITHMETIC or len(node.all_input_nodes) != 1:
            return False
        return self.value(node.all_input_nodes[0]).of is not None or called(node) not in OPERATIONS

    def _looked_up(self, node: Node) -> Known:
        """A function of each number alone: computed of all 256 values that there are."""
        value, to = self._uint8(node.all_input_nodes[0]), self.ranges[node]
        assert value.of is not None
        real = (torch.arange(256, dtype=torch.float64) - value.of.zero) * value.of.scale
        made = call(node, *map_arg((node.args, node.kwargs), lambda _: real))
        levels = (made / to.scale).round().add(to.zero).nan_to_num().clamp(0, 255).to(torch.uint8)
        return self.add(network.table(value.number, levels), value.channels, value, of=to)

    def _join(self, node: Node) -> Known:
        """In 8 bits where one of two values is u8, and both have as many pixels or it is a product with one pixel."""
        operands = [arg for arg in node.args if isinstance(arg, Node) and isinstance(self.known.get(arg), Known)]
        values, joining = [self.value(arg) for arg in operands], JOININGS[called(node)]
        if node.kwargs or len(values) != 2 or all(value.of is None for value in values):
            return join(self, node)
        if joining not in ("sum", "difference", "product") or values[0].flat != values[1].flat:
            return join(self, node)
        if joining == "product":
            a, b = (self._uint8(one) for one in sorted(operands, key=_pixels, reverse=True))
            to = self.ranges[node]
            return self.add(network.product(_pair(a), _pair(b), to), a.channels, a, of=to)
        if not _are_alike(*operands):
            return join(self, node)
        return self._added([self._uint8(one) for one in operands], node, negative=joining == "difference")

    def _concatenate(self, node: Node) -> Known:
        parts: Any = node.args[0]
        listed = isinstance(parts, list | tuple) and all(isinstance(self.known.get(part), Known) for part in parts)
        if not listed or all(self.value(part).of is None for part in parts):
            return concatenate(self, node)
        to = self.ranges[node]
        values = [self._uint8(part) for part in parts]
        rescaled = [value if value.of == to else self._added([value], node) for value in values]
        return concatenated(self, rescaled, node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0))

    operations = OPERATIONS | dict.fromkeys(JOININGS, _join) | dict.fromkeys(("cat", "concat"), _concatenate)


def chain_nodes(fused: Fused) -> list[Node]:
    """All but the last."""
    if fused.site is None:
        return [node for node in fused.last.all_input_nodes if called(node) == "linear"]
    found, node = [], fused.site.node
    while node is not fused.last:
        found.append(node)
        node = next(iter(node.users))
    return found


def quantized_weights(fused: Fused, of: Affine) -> Int8Weights:
    """Each filter's largest weight is 127, unless its bias would then leave 32 bits."""
    largest = torch.stack([
        weight.abs().flatten(1).amax(1) if weight[0].numel() else torch.zeros(weight.shape[0])
        for weight in (fused.spatial, fused.pointwise)
    ]).amax(0)  # fmt: skip
    for_bias = fused.bias.double().abs() / (of.scale * MOST_BIAS)
    scale = torch.maximum(largest.double() / 127, for_bias).clamp(min=1e-20)
    return Int8Weights.of(fused.layer.pattern, fused.spatial, fused.pointwise, scale.float())


def weight_error(fused: Fused, weights: Int8Weights) -> Tensor:
    """(N, M), float64: what rounding added to each filter's weights, all taps of a channel together."""
    dense = to_dense_weight(fused.spatial.double(), fused.pointwise.double(), fused.layer.pattern)
    rounded = weights.dense().double() * weights.scale.double().view(-1, 1, 1, 1)
    return (rounded - dense).sum((2, 3))


def _pair(value: Known) -> tuple[int, Affine]:
    assert value.of is not None
    return value.number, value.of


def _are_alike(a: Node, b: Node) -> bool:
    """Whether both have the same size, whatever that of the images is."""
    first, other = shapes_of(a), shapes_of(b)
    return first is not None and other is not None and first.same_size_as(other)


def _pixels(node: Any) -> int:
    shapes = shapes_of(node)
    return 1 if shapes is None else prod(shapes.example[2:])
