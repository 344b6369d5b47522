"""What each node of a graph does with its tensors' channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from hetconv.graph.calls import Held, Operation, has_hooks, operation
from hetconv.graph.operations import ARITHMETIC, CONVERSIONS, COPIES, DROPOUTS, ELEMENTWISE, SIZE_ATTRIBUTES, SIZES
from hetconv.layout.flow import UNKNOWN, Attribute, Flow, Number, Value, inner_of
from hetconv.layout.joins import binary, cat
from hetconv.layout.reshapes import is_maps, shaped
from hetconv.layout.spaces import Tracked, channels_of
from hetconv.nn import HetConv2d

KEEPING = ELEMENTWISE | CONVERSIONS | COPIES | DROPOUTS | {"stochastic_depth"}
"""Operations whose result has its channels where their first argument has them."""
OF_CHANNELS = ("weight", "bias", "running_mean", "running_var")
"""Arguments of normalizations, and of prelu, with one number a channel."""


class Rules:
    """Follows one graph, node by node, and writes what it finds into a `Flow`."""

    def __init__(self, flow: Flow, graph: fx.Graph) -> None:
        self.flow, self.graph = flow, graph
        self.values: dict[fx.Node, Value] = {}
        flow.graph += 1

    def run(self) -> None:
        for node in self.graph.nodes:
            found = self._follow(node)
            if found is UNKNOWN:
                self.flow.to_natural(node, self.values)
                found = None
            if found is None and node.op == "call_module":
                self.flow.keep(str(node.target), node)
            self.values[node] = found

    def _follow(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return None
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        if node.op == "output":
            return UNKNOWN
        if node.op == "call_module":
            module = self.flow.modules[str(node.target)]
            self.flow.reached.add(module)
            if isinstance(module, HetConv2d):
                return self._het(node, str(node.target), module, node.all_input_nodes[0])
        found = None if has_hooks(node, self.flow.modules) else operation(node, self.flow.modules)
        return UNKNOWN if found is None else self._operation(node, found)

    def value(self, arg: Any) -> Value:
        if isinstance(arg, fx.Node):
            return self.values[arg]
        return Number() if isinstance(arg, int | float | bool) else None

    def _attribute(self, name: str) -> Value:
        holder, _, key = name.rpartition(".")
        self.flow.reached.add(self.flow.modules[holder])
        return Attribute(name, getattr(self.flow.modules[holder], key))

    def _het(self, node: fx.Node, name: str, layer: HetConv2d, arg: fx.Node) -> Any:
        value = self.values[arg]
        if isinstance(value, Tracked) and not is_maps(value):
            return UNKNOWN
        if layer.p == 1:
            weight, bias = Held(f"{name}.weight_spatial"), None if layer.bias is None else Held(f"{name}.bias")
            source = self.flow.enter(node, arg, value, weight.name, layer.in_channels, 1)
            target = self.flow.leave(weight.name, layer.out_channels)
            self.flow.follow((weight,), 1, source)
            self.flow.follow((weight, bias), 0, target)
        else:
            target = self.flow.call_het(node, arg, value, layer, name)
        return Tracked(4, 1, target)

    def _operation(self, node: fx.Node, found: Operation) -> Any:
        name = found.name
        if name in SIZES or name == "_assert" or (name == "getattr" and node.args[1] in SIZE_ATTRIBUTES):
            return Number()
        if name in ARITHMETIC:
            return binary(self.flow, node, self.value)
        if name in ("cat", "concat"):
            return cat(found, self.value)
        value = self.value(found["input"])
        if isinstance(value, Number):
            return value
        if name in _WITH_TENSORS and isinstance(found["input"], fx.Node):
            return _WITH_TENSORS[name](self, node, found, value)
        others = (self.values[arg] for arg in node.all_input_nodes if arg is not found["input"])
        if not isinstance(value, Tracked) or not all(isinstance(other, Number) for other in others):
            return UNKNOWN
        return value if name in KEEPING else shaped(node, found, value)

    def _tensor(self, held: Held) -> Tensor:
        holder, _, key = held.name.rpartition(".")
        return getattr(self.flow.modules[holder], key)  # type: ignore[no-any-return]

    def _conv(self, node: fx.Node, conv: Operation, value: Value) -> Any:
        weight, bias, groups = conv["weight"], conv["bias"], conv["groups"]
        if (isinstance(value, Tracked) and not is_maps(value)) or not _are_held(weight, bias):
            return UNKNOWN
        out_channels, in_channels = self._tensor(weight).shape[:2]
        in_channels *= groups
        if groups == 1:
            source = self.flow.enter(node, conv["input"], value, weight.name, in_channels, 1)
            target = self.flow.leave(weight.name, out_channels)
            self.flow.follow((weight,), 1, source, in_channels // channels_of(source))
            self.flow.follow((weight, bias), 0, target)
            return Tracked(4, 1, target)
        if groups == in_channels and isinstance(value, Tracked):
            source = self.flow.enter(node, conv["input"], value, weight.name, in_channels, 1)
            multiplier = out_channels // channels_of(source)
            self.flow.follow((weight, bias), 0, source, multiplier)
            return Tracked(4, 1, source, multiplier)
        return UNKNOWN

    def _linear(self, node: fx.Node, linear: Operation, value: Value) -> Any:
        weight, bias = linear["weight"], linear["bias"]
        if not isinstance(value, Tracked) or value.from_right != -1 or not _are_held(weight, bias):
            return UNKNOWN
        out_features, in_features = self._tensor(weight).shape
        inner = inner_of(in_features, value)
        if inner is None:
            return UNKNOWN
        source = self.flow.enter(node, linear["input"], value, weight.name, in_features, -1)
        target = self.flow.leave(weight.name, out_features)
        self.flow.follow((weight,), 1, source, inner)
        self.flow.follow((weight, bias), 0, target)
        return Tracked(value.rank, value.dim, target)

    def _per_channel(self, node: fx.Node, norm: Operation, value: Value) -> Any:
        """A normalization or prelu, with tensors of one number for each channel, or for all."""
        tensors = [norm[name] for name in OF_CHANNELS if norm[name] is not None]
        if not isinstance(value, Tracked) or not all(isinstance(tensor, Held) for tensor in tensors):
            return UNKNOWN
        sizes = {(*self._tensor(tensor).shape, 1)[0] for tensor in tensors} or {channels_of(value.segments)}
        features = min(sizes)
        if norm.name == "prelu" and features == 1:
            return value
        if norm.name == "layer_norm":
            shape = norm["normalized_shape"]
            fits = isinstance(shape, tuple | list) and value.from_right == -len(shape)
        else:
            fits = value.dim == 1 and norm["num_groups"] in (None, 1, features)
        inner = inner_of(features, value)
        if not fits or inner is None:
            return UNKNOWN
        if not tensors:
            return value
        segments = self.flow.enter(node, norm["input"], value, tensors[0].name, features, value.dim)
        self.flow.follow(tensors, 0, segments, inner)
        return value.moved(segments=segments, inner=inner)


def _are_held(weight: Any, bias: Any) -> bool:
    return isinstance(weight, Held) and (bias is None or isinstance(bias, Held))


_NORMS = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "prelu")
_WITH_TENSORS: dict[str, Callable[[Rules, fx.Node, Operation, Value], Any]] = {
    "conv2d": Rules._conv, "linear": Rules._linear, **dict.fromkeys(_NORMS, Rules._per_channel)
}  # fmt: skip
"""Operations that read parameters and buffers of the network."""
