"""A captured graph as the steps of one native network in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.deployment.fuse import Chain, find_chain
from hetconv.deployment.int8.ranges import Observed
from hetconv.deployment.shapes import shapes_of
from hetconv.deployment.sites import Layer, Site, layer_of, natural_weights
from hetconv.deployment.windows import average_pool_of, max_pool_of, mean_dims, part_of, zero_sides
from hetconv.errors import UsageError
from hetconv.graph.calls import activation, called
from hetconv.graph.captured import Captured, call
from hetconv.ops import network
from hetconv.ops.arguments import Geometry
from hetconv.ops.network import Affine, Int8Weights, Step, Window
from hetconv.ops.weights import to_dense_weight
from hetconv.pattern import HetPattern

IN_KERNEL = (None, "relu", "relu6")
MOST_BIAS = 2.0**29
"""Of a bias, in units of a product of 8 bits: sums stay within 32 bits."""


class NotInt8Error(UsageError):
    """A network cannot run in 8 bits as a whole; the message names the operation and the reason."""


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
class Known:
    """A graph's value as a step's: its number, and what it stands for if it is u8."""

    number: int
    of: Affine | None


@dataclass
class Lowered:
    """The steps of a network, and which of its layers run in float32, with the reasons."""

    steps: list[Step] = field(default_factory=list)
    in_float32: dict[str, str] = field(default_factory=dict)
    in_int8: list[str] = field(default_factory=list)


def find_layers(captured: Captured, sites: list[Site]) -> dict[Node, Fused]:
    """Convolutions and linear layers by the last node that joins them.

    Raises:
        NotInt8Error: one of them is none that the native kernels compute.
    """
    found: dict[Node, Fused] = {}
    taken: set[Node] = set()
    for site in sites:
        layer = layer_of(captured, site)
        if isinstance(layer, str):
            raise NotInt8Error(f"{site.name or 'convolution'} ({site.layer}) is {layer}")
        chain = _free(find_chain(captured, site), taken)
        taken.update(chain.nodes)
        site.joined += chain.joined
        value = site.node.args[0]
        assert isinstance(value, Node)
        spatial, pointwise = natural_weights(captured, site)
        bias = torch.zeros(layer.pattern.out_channels) if site.bias is None else captured.constants[site.bias]
        found[chain.last] = Fused(
            site.name, chain.last, value, layer, spatial, pointwise, bias, chain.residual, chain.activation, site
        )
    for node in captured.graph.nodes:
        if called(node) == "linear":
            fused = _linear(captured, node)
            found[fused.last] = fused
    return found


def _free(chain: Chain, taken: set[Node]) -> Chain:
    """The part of a chain that no other layer has taken, and that its kernel computes.

    The first layer is float32, whose kernel has all activations; after one of 8 bits others than relu and relu6 are
    looked up.
    """
    first = chain.nodes[0]
    if any(node in taken for node in chain.nodes):
        return Chain(first, (first,), None, None, "another layer takes the addition")
    source = first.args[0]
    if chain.activation in IN_KERNEL or (isinstance(source, Node) and source.op == "placeholder"):
        return chain
    return Chain(chain.nodes[-2], chain.nodes[:-1], chain.residual, None, f"{chain.activation} is looked up")


def _linear(captured: Captured, node: Node) -> Fused:
    given = dict(zip(("input", "weight", "bias"), node.args, strict=False)) | dict(node.kwargs)
    weight, bias = captured.constant(given.get("weight")), captured.constant(given.get("bias"))
    if weight is None or (given.get("bias") is not None and bias is None):
        raise NotInt8Error(f"{node.name} is a linear layer whose weights are computed from the input")
    source = given["input"]
    if not isinstance(source, Node):
        raise NotInt8Error(f"{node.name} is a linear layer of a constant")
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


class Lowering:
    """Walks over a graph and writes its steps.

    Args:
        ranges: what u8 stands for, of each value that may be one.
        observed: of the layers' inputs; with it biases are corrected by the mean of what rounding of weights changes.
    """

    def __init__(
        self, captured: Captured, layers: dict[Node, Fused], ranges: Mapping[Node, Affine],
        observed: Mapping[Node, Observed] | None,
    ) -> None:  # fmt: skip
        self.captured, self.layers, self.ranges, self.observed = captured, layers, ranges, observed
        self.lowered = Lowered()
        self.known: dict[Node, Known] = {}
        self.quantized: dict[Node, Known] = {}
        self.last_linear = next((n for n in reversed(captured.graph.nodes) if called(n) == "linear"), None)
        inner = set[Node]()
        for fused in layers.values():
            inner |= set(chain_nodes(fused))
        self.inner = inner

    def run(self) -> Lowered:
        """Raises NotInt8Error where the graph has an operation that no step computes."""
        for node in self.captured.graph.nodes:
            if node.op == "placeholder":
                self.known[node] = Known(0, None)
            elif node.op == "output":
                self._output(node)
            elif node in self.layers:
                self.known[node] = self._layer(self.layers[node])
            elif node.op != "get_attr" and node not in self.inner and shapes_of(node) is not None:
                self.known[node] = self._operation(node)
        return self.lowered

    def _add(self, step: Step, of: Affine | None) -> Known:
        self.lowered.steps.append(step)
        return Known(len(self.lowered.steps), of)

    def _value(self, node: Any) -> Known:
        if not isinstance(node, Node) or node not in self.known:
            raise NotInt8Error(f"{node} is no value of the network's images")
        return self.known[node]

    def _uint8(self, node: Any) -> Known:
        known = self._value(node)
        if known.of is not None:
            return known
        if node not in self.quantized:
            to = self.ranges[node]
            self.quantized[node] = self._add(network.quantize(known.number, to), to)
        return self.quantized[node]

    def _float32(self, node: Any) -> Known:
        known = self._value(node)
        return known if known.of is None else self._add(network.dequantize(known.number, known.of), None)

    def _layer(self, fused: Fused) -> Known:
        reason = self._why_float32(fused)
        if reason is not None:
            self.lowered.in_float32[fused.name] = reason
            residual = None if fused.residual is None else self._float32(fused.residual).number
            step = network.float_convolution(
                self._float32(fused.value).number, fused.layer.pattern, fused.spatial, fused.pointwise, fused.bias,
                fused.layer.where, fused.activation, residual,
            )  # fmt: skip
            return self._add(step, None)
        value = self._uint8(fused.value)
        assert value.of is not None
        residual_value = None if fused.residual is None else self._uint8(fused.residual)
        added = None if residual_value is None else (residual_value.number, residual_value.of or Affine(1.0))
        weights = quantized_weights(fused, value.of)
        bias = fused.bias.double()
        if self.observed is not None:
            bias = bias - weight_error(fused, weights) @ self.observed[fused.value].mean
        to = self.ranges[fused.last]
        step = network.int8_convolution(
            value.number, value.of, weights, bias, fused.layer.where, to, added, fused.activation
        )
        self.lowered.in_int8.append(fused.name)
        return self._add(step, to)

    def _why_float32(self, fused: Fused) -> str | None:
        if self._value(fused.value).number == 0:
            return "the first layer: its input is the images"
        if called(fused.last) == "linear" and fused.last is self.last_linear:
            return "the classifier: its output is the network's"
        return None

    def _operation(self, node: Node) -> Known:
        name = called(node)
        handler = _OPERATIONS.get(name)
        if activation(node) in ("relu", "relu6"):
            return self._activation(node, activation(node))
        others = (*node.args[1:], *node.kwargs.values())
        if name in _BY_TABLE and not any(isinstance(other, Node) for other in others):
            return self._looked_up(node)
        if handler is None:
            raise NotInt8Error(f"{node.name}: {name or node.op} is no operation of the native network")
        return handler(self, node)

    def _activation(self, node: Node, kind: str | None) -> Known:
        value = self._uint8(node.args[0])
        assert value.of is not None
        to = self.ranges[node]
        return self._add(network.add([(value.number, value.of)], to, kind), to)

    def _looked_up(self, node: Node) -> Known:
        """A function of each number alone: computed of all 256 values that there are."""
        value, to = self._uint8(node.args[0]), self.ranges[node]
        assert value.of is not None
        real = (torch.arange(256, dtype=torch.float64) - value.of.zero) * value.of.scale
        made = call(node, (real, *node.args[1:]), node.kwargs)
        levels = (made / to.scale).round().add(to.zero).clamp(0, 255).to(torch.uint8)
        return self._add(network.table(value.number, levels), to)

    def _product(self, node: Node) -> Known:
        if len(node.args) != 2 or node.kwargs or not all(isinstance(arg, Node) for arg in node.args):
            raise NotInt8Error(f"{node.name}: this product is no operation of the native network")
        first, other = sorted(node.args, key=_pixels, reverse=True)
        a, b, to = self._uint8(first), self._uint8(other), self.ranges[node]
        assert a.of is not None
        assert b.of is not None
        return self._add(network.product((a.number, a.of), (b.number, b.of), to), to)

    def _max_pool(self, node: Node) -> Known:
        window = max_pool_of(node)
        if isinstance(window, str):
            raise NotInt8Error(f"{node.name}: {window} is no operation of the native network")
        value = self._uint8(node.args[0])
        return self._add(network.max_pool(value.number, window), value.of)

    def _average_pool(self, node: Node) -> Known:
        found = average_pool_of(node)
        if isinstance(found, str):
            raise NotInt8Error(f"{node.name}: {found} is no operation of the native network")
        value = self._uint8(node.args[0])
        assert value.of is not None
        return self._add(network.average_pool(value.number, found[0], value.of, found[1]), value.of)

    def _adaptive_pool(self, node: Node) -> Known:
        mine, before = shapes_of(node), shapes_of(node.args[0])
        assert mine is not None
        assert before is not None
        if mine.example == before.example:
            return self._value(node.args[0])
        if mine.example[2:] != (1, 1):
            raise NotInt8Error(f"{node.name}: adaptive pooling to more than one pixel is no operation of the network")
        return self._global_average(node)

    def _mean(self, node: Node) -> Known:
        found, before = mean_dims(node), shapes_of(node.args[0])
        if before is None or len(before.example) != 4 or found is None or found[0] != [2, 3]:
            raise NotInt8Error(
                f"{node.name}: a mean of other dimensions than the image's is no operation of the network"
            )
        return self._global_average(node)

    def _global_average(self, node: Node) -> Known:
        value = self._uint8(node.args[0])
        assert value.of is not None
        return self._add(network.global_average(value.number, value.of), None)

    def _reshape(self, node: Node) -> Known:
        mine, before = shapes_of(node), shapes_of(node.args[0])
        if mine is None or before is None or not _is_flatten(before.example, mine.example):
            raise NotInt8Error(f"{node.name}: {called(node)} to another form than (batch, numbers) is no operation")
        value = self._value(node.args[0])
        if before.example[2:] in ((), (1, 1)):
            return value
        return self._add(network.flatten(value.number), value.of)

    def _sum(self, node: Node) -> Known:
        if len(node.args) != 2 or node.kwargs or not all(isinstance(arg, Node) for arg in node.args):
            raise NotInt8Error(f"{node.name}: the addition of a number is no operation of the native network")
        shapes = [shapes_of(arg) for arg in node.args]
        if shapes[0] is None or shapes[1] is None or shapes[0].example != shapes[1].example:
            raise NotInt8Error(f"{node.name}: what is added has another shape")
        terms = [(value.number, value.of or Affine(1.0)) for value in map(self._uint8, node.args)]
        to = self.ranges[node]
        return self._add(network.add(terms, to), to)

    def _concatenate(self, node: Node) -> Known:
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        mine = shapes_of(node)
        parts = node.args[0]
        if mine is None or len(mine.example) != 4 or dim not in (1, -3) or not isinstance(parts, list | tuple):
            raise NotInt8Error(f"{node.name}: only channels of images are concatenated")
        to = self.ranges[node]
        numbers = []
        for part in parts:
            value = self._uint8(part)
            assert value.of is not None
            same = value if value.of == to else self._add(network.add([(value.number, value.of)], to), to)
            numbers.append(same.number)
        return self._add(network.concatenate(numbers), to)

    def _subsample(self, node: Node) -> Known:
        """`x[:, :, ::stride, ::stride]`: the largest of windows of one pixel."""
        part, shapes = part_of(node), shapes_of(node.args[0])
        if shapes is None or len(shapes.example) != 4 or part is None or (part.begin, part.end) != (0, None):
            raise NotInt8Error(f"{node.name}: a part of a tensor is no operation of the native network")
        value = self._uint8(node.args[0])
        return self._add(network.max_pool(value.number, Window((1, 1), Geometry(part.stride))), value.of)

    def _pad(self, node: Node) -> Known:
        sides, shapes = zero_sides(node), shapes_of(node)
        if shapes is None or len(shapes.example) != 4 or sides is None or any(sides[:4]):
            raise NotInt8Error(f"{node.name}: padding other than with channels of 0 is no operation of the network")
        value = self._uint8(node.args[0])
        assert value.of is not None
        return self._add(network.pad_channels(value.number, sides[4], sides[5], value.of), value.of)

    def _output(self, node: Node) -> None:
        if not isinstance(node.args[0], Node):
            raise NotInt8Error("the network gives more than one tensor")
        last = self._float32(node.args[0])
        if last.number != len(self.lowered.steps):
            raise NotInt8Error("the network's output is computed before its last step")


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


def _is_flatten(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    count = 1
    for length in before[1:]:
        count *= length
    return len(before) in (2, 4) and len(after) == 2 and after == (before[0], count)


def _pixels(node: Any) -> int:
    shapes = shapes_of(node)
    return 1 if shapes is None else prod(shapes.example[2:])


_FUNCTIONS = """
abs add celu clamp clamp_max clamp_min clip div elu exp gelu hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish
mul selu sigmoid silu softplus softsign sqrt square sub tanh truediv
"""
_BY_TABLE = frozenset(_FUNCTIONS.split())
"""Calls that are functions of each number alone, where only their first argument is computed from the images."""
_OPERATIONS: dict[str, Callable[[Lowering, Node], Known]] = {
    "max_pool2d": Lowering._max_pool,
    "avg_pool2d": Lowering._average_pool,
    "adaptive_avg_pool2d": Lowering._adaptive_pool,
    "mean": Lowering._mean,
    "flatten": Lowering._reshape,
    "reshape": Lowering._reshape,
    "squeeze": Lowering._reshape,
    "add": Lowering._sum,
    "mul": Lowering._product,
    "getitem": Lowering._subsample,
    "pad": Lowering._pad,
    "cat": Lowering._concatenate,
    "concat": Lowering._concatenate,
}
