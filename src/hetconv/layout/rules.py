"""What each node of a graph does with its tensors' channels."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn import functional

from hetconv.layout import operations as known
from hetconv.layout.flow import UNKNOWN, Attribute, Flow, Number, Value, inner_of
from hetconv.layout.joins import binary, cat
from hetconv.layout.reshapes import flattened, is_maps, shaped
from hetconv.layout.spaces import Tracked, channels_of
from hetconv.nn import HetConv2d

NUMBERS = frozenset({"shape", "device", "dtype", "ndim", "is_cuda", "requires_grad"})


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
        if node.op == "call_module":
            self.flow.reached.add(self.flow.modules[str(node.target)])
            return self._module(node)
        if node.op == "output":
            return UNKNOWN
        return self._function(node)

    def value(self, arg: Any) -> Value:
        if isinstance(arg, fx.Node):
            return self.values[arg]
        return Number() if isinstance(arg, int | float | bool) else None

    def _attribute(self, name: str) -> Value:
        holder, _, key = name.rpartition(".")
        self.flow.reached.add(self.flow.modules[holder])
        return Attribute(name, getattr(self.flow.modules[holder], key))

    def _module(self, node: fx.Node) -> Any:
        name = str(node.target)
        module = self.flow.modules[name]
        if len(node.args) != 1 or node.kwargs:
            return UNKNOWN
        value = self.value(node.args[0])
        if isinstance(module, HetConv2d):
            return self._het(node, name, module, value)
        if type(module) is nn.Conv2d:
            return self._conv(node, name, module, value)
        if type(module) is nn.Linear:
            return self._linear(node, name, module, value)
        if not isinstance(value, Tracked):
            return None
        if type(module) in known.ELEMENTWISE_MODULES:
            return value
        if type(module) in known.PER_MAP_MODULES and not getattr(module, "return_indices", False):
            return value.moved(area=known.per_map_area(module, value.area)) if is_maps(value) else UNKNOWN
        if type(module) is nn.Flatten:
            return flattened(value, module.start_dim, module.end_dim)
        return self._normalization(node, name, module, value)

    def _het(self, node: fx.Node, name: str, layer: HetConv2d, value: Value) -> Any:
        if isinstance(value, Tracked) and not is_maps(value):
            return UNKNOWN
        if layer.p == 1:
            source = self.flow.enter(node, node.args[0], value, layer, layer.in_channels, 1)
            target = self.flow.leave(layer, layer.out_channels)
            self.flow.follow(name, "weight_spatial", 1, source)
            self.flow.follow(name, "weight_spatial weight_pointwise bias", 0, target)
        else:
            target = self.flow.call_het(node, node.args[0], value, layer, name)
        return Tracked(4, 1, target)

    def _conv(self, node: fx.Node, name: str, conv: nn.Conv2d, value: Value) -> Any:
        if isinstance(value, Tracked) and not is_maps(value):
            return UNKNOWN
        if conv.groups == 1:
            source = self.flow.enter(node, node.args[0], value, conv, conv.in_channels, 1)
            target = self.flow.leave(conv, conv.out_channels)
            self.flow.follow(name, "weight", 1, source, conv.in_channels // channels_of(source))
            self.flow.follow(name, "weight bias", 0, target)
            return Tracked(4, 1, target)
        if conv.groups == conv.in_channels and isinstance(value, Tracked):
            source = self.flow.enter(node, node.args[0], value, conv, conv.in_channels, 1)
            multiplier = conv.out_channels // channels_of(source)
            self.flow.follow(name, "weight bias", 0, source, multiplier)
            return Tracked(4, 1, source, multiplier)
        return UNKNOWN

    def _linear(self, node: fx.Node, name: str, linear: nn.Linear, value: Value) -> Any:
        if not isinstance(value, Tracked):
            return None
        inner = inner_of(linear.in_features, value)
        if value.from_right != -1 or inner is None:
            return UNKNOWN
        source = self.flow.enter(node, node.args[0], value, linear, linear.in_features, -1)
        target = self.flow.leave(linear, linear.out_features)
        self.flow.follow(name, "weight", 1, source, inner)
        self.flow.follow(name, "weight bias", 0, target)
        return Tracked(value.rank, value.dim, target)

    def _normalization(self, node: fx.Node, name: str, module: Any, value: Tracked) -> Any:
        """A module with one parameter for each channel, or one for all."""
        kind = type(module)
        features = channels_of(value.segments)
        if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d) and value.dim == 1:
            features = module.num_features
        elif kind is nn.GroupNorm and value.dim == 1 and module.num_groups in (1, module.num_channels):
            features = module.num_channels
        elif kind is nn.PReLU:
            if module.num_parameters == 1:
                return value
            features = module.num_parameters
            if value.dim != 1:
                return UNKNOWN
        elif kind is not nn.LayerNorm or value.from_right != -len(module.normalized_shape):
            return UNKNOWN
        inner = inner_of(features, value)
        if inner is None:
            return UNKNOWN
        segments = self.flow.enter(node, node.args[0], value, module, features, value.dim)
        self.flow.follow(name, "weight bias running_mean running_var", 0, segments, inner)
        return value.moved(segments=segments, inner=inner)

    def _function(self, node: fx.Node) -> Any:
        target: Any = node.target
        if target in known.SHAPE_ONLY and (target is not getattr or node.args[1] in NUMBERS):
            return Number()
        if target in known.BINARY:
            return binary(self.flow, node, self.value)
        if target in known.CAT:
            return cat(node, self.value)
        value = self.value(node.args[0]) if node.args else None
        if isinstance(value, Number):
            return value
        if not isinstance(value, Tracked):
            return UNKNOWN
        others = [self.values[arg] for arg in node.all_input_nodes if arg is not node.args[0]]
        if target is functional.batch_norm or target is functional.layer_norm:
            return self._normalized(node, value)
        if not all(isinstance(other, Number) for other in others):
            return UNKNOWN
        return value if known.is_elementwise(target) else shaped(node, value)

    def _normalized(self, node: fx.Node, value: Tracked) -> Any:
        """Normalization by function, with tensors of one number a channel."""
        if node.target is functional.layer_norm:
            shape: Any = node.args[1]
            fits = isinstance(shape, tuple | list) and len(shape) == 1 and value.from_right == -1
        else:
            fits = value.dim == 1
        tensors = [self.values[arg] for arg in node.all_input_nodes if arg is not node.args[0]]
        attributes = [tensor for tensor in tensors if isinstance(tensor, Attribute)]
        if not fits or any(not isinstance(tensor, Attribute | Number) for tensor in tensors):
            return UNKNOWN
        for attribute in attributes:
            inner = inner_of(attribute.tensor.shape[0], value) if attribute.tensor.dim() == 1 else None
            if inner is None:
                return UNKNOWN
            self.flow.follow_tensor(attribute.name, 0, value.segments, inner)
        return value
