"""What each node of a graph does with its tensors' channels."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn import functional

from hetconv.layout import operations as known
from hetconv.layout.capture import place
from hetconv.layout.flow import Attribute, Flow, Number, Value, inner_of
from hetconv.layout.spaces import Space, Tracked, can_join, channels_of, join
from hetconv.nn import HetConv2d

NUMBERS = frozenset({"shape", "device", "dtype", "ndim", "is_cuda", "requires_grad"})
UNKNOWN = object()
"""A rule's answer where it does not apply: the node then reads its tensors in the author's order."""


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
        if type(module) in known.PER_MAP_MODULES:
            return value.moved(area=known.per_map_area(module, value.area)) if _is_maps(value) else UNKNOWN
        if type(module) is nn.Flatten:
            return _flattened(value, module.start_dim, module.end_dim)
        return self._normalization(node, name, module, value)

    def _het(self, node: fx.Node, name: str, layer: HetConv2d, value: Value) -> Any:
        if isinstance(value, Tracked) and not _is_maps(value):
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
        if isinstance(value, Tracked) and not _is_maps(value):
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
        if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d) and value.dim == 1:
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
        target = node.target
        if target in known.BINARY:
            return self._binary(node)
        if target in known.CAT:
            return self._cat(node)
        value = self.value(node.args[0]) if node.args else None
        if isinstance(value, Number):
            return value
        if not isinstance(value, Tracked):
            return UNKNOWN
        if target in known.SHAPE_ONLY:
            return Number() if target is not getattr or node.args[1] in NUMBERS else UNKNOWN
        if known.is_elementwise(target):
            return value
        if getattr(target, "__name__", None) == "layer_norm":
            return self._layer_norm(node, value)
        if target is functional.pad:
            return value.moved(area=None) if _pads_maps_only(value, node.args[1]) else UNKNOWN
        return shaped(node, target, value)

    def _binary(self, node: fx.Node) -> Any:
        if len(node.args) < 2:
            return UNKNOWN
        one, other = (self.value(arg) for arg in node.args[:2])
        if isinstance(one, Number) and isinstance(other, Number):
            return one
        if not isinstance(one, Tracked) and not isinstance(other, Tracked):
            return UNKNOWN
        if isinstance(one, Tracked) and isinstance(other, Tracked):
            return self._both(node, one, other)
        if isinstance(one, Tracked):
            return self._with(node, one, other, node.args[1])
        assert isinstance(other, Tracked)
        return self._with(node, other, one, node.args[0])

    def _both(self, node: fx.Node, one: Tracked, other: Tracked) -> Any:
        larger, smaller = (one, other) if one.rank >= other.rank else (other, one)
        if one.from_right != other.from_right or one.inner != other.inner:
            return UNKNOWN
        if channels_of(smaller.segments) == 1:
            return larger
        if channels_of(larger.segments) == 1:
            return larger.moved(segments=smaller.segments)
        if can_join(one.segments, other.segments):
            join(one.segments, other.segments)
        elif channels_of(one.segments) == channels_of(other.segments) and isinstance(node.args[1], fx.Node):
            why = "concatenations of different make are added"
            self.flow.move(node, node.args[1], other.segments, one.segments, other.from_right, other.inner, why)
            return larger.moved(segments=one.segments)
        else:
            return UNKNOWN
        return larger

    def _with(self, node: fx.Node, value: Tracked, other: Value, arg: Any) -> Any:
        """A followed tensor and a number, a parameter, or a tensor in the author's order."""
        if isinstance(other, Attribute):
            shape = other.tensor.shape
            if len(shape) > value.rank:
                return UNKNOWN
            axis = len(shape) + value.from_right
            if axis >= 0 and shape[axis] > 1:
                inner = inner_of(shape[axis], value)
                if inner is None:
                    return UNKNOWN
                self.flow.follow_tensor(other.name, axis, value.segments, inner)
        elif not isinstance(other, Number) and isinstance(arg, fx.Node):
            why = f"{place(arg)}, whose channels keep their order, is added or multiplied"
            self.flow.move(node, arg, None, value.segments, value.from_right, value.inner, why)
        return value

    def _cat(self, node: fx.Node) -> Any:
        tensors: Any = node.args[0]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        values = [self.value(tensor) for tensor in tensors] if isinstance(tensors, tuple | list) else []
        tracked = [value for value in values if isinstance(value, Tracked)]
        if not tracked or len(tracked) != len(values) or not isinstance(dim, int):
            return UNKNOWN
        first = tracked[0]
        if any((value.rank, value.dim, value.inner) != (first.rank, first.dim, first.inner) for value in tracked):
            return UNKNOWN
        if dim % first.rank == first.dim:
            if first.inner is None:
                return UNKNOWN
            return first.moved(segments=tuple(space for value in tracked for space in value.segments))
        if not all(can_join(first.segments, value.segments) for value in tracked):
            return UNKNOWN
        for value in tracked[1:]:
            join(first.segments, value.segments)
        return first.moved(area=None)

    def _layer_norm(self, node: fx.Node, value: Tracked) -> Any:
        shape: Any = node.args[1]
        if not isinstance(shape, tuple | list) or len(shape) != 1 or value.from_right != -1:
            return UNKNOWN
        for arg in node.args[2:4]:
            attribute = self.value(arg)
            if isinstance(attribute, Attribute):
                inner = inner_of(attribute.tensor.shape[0], value)
                if inner is None:
                    return UNKNOWN
                self.flow.follow_tensor(attribute.name, 0, value.segments, inner)
            elif arg is not None:
                return UNKNOWN
        return value


def shaped(node: fx.Node, target: Any, value: Tracked) -> Any:
    """Functions that move, drop or make dimensions."""
    rest: Any = node.args[1:]
    if target in known.PER_MAP or getattr(target, "__name__", "") in (
        "max_pool2d",
        "avg_pool2d",
        "adaptive_max_pool2d",
    ):
        adaptive = target is functional.adaptive_avg_pool2d
        area = known.adaptive_area(node.args[1]) if adaptive and len(node.args) > 1 else None
        return value.moved(area=area) if _is_maps(value) else UNKNOWN
    if target in known.REDUCTIONS:
        return _reduced(value, _argument(node, 1, "dim", None), _argument(node, 2, "keepdim", False))
    if target in known.FLATTEN:
        return _flattened(value, _argument(node, 1, "start_dim", 0), _argument(node, 2, "end_dim", -1))
    if target in known.RESHAPE:
        sizes = rest[0] if len(rest) == 1 else rest
        keeps_batch = isinstance(sizes, tuple | list) and len(sizes) == 2 and sizes[1] == -1 and _is_batch(sizes[0])
        return _flattened(value, 1, -1) if keeps_batch else UNKNOWN
    if target in known.PERMUTE:
        dims = rest[0] if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest
        return value.moved(dim=[dim % value.rank for dim in dims].index(value.dim), area=None)
    if target in known.TRANSPOSE and len(rest) == 2:
        one, other = (dim % value.rank for dim in rest)
        return value.moved(dim={one: other, other: one}.get(value.dim, value.dim), area=None)
    if target in known.UNSQUEEZE:
        dim = rest[0] % (value.rank + 1)
        return value.moved(rank=value.rank + 1, dim=value.dim + (dim <= value.dim), area=None)
    return _indexed(value, rest[0]) if getattr(target, "__name__", "") == "getitem" else UNKNOWN


def _is_maps(value: Tracked) -> bool:
    return value.rank == 4 and value.dim == 1 and value.inner is not None


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _is_batch(size: Any) -> bool:
    """Whether this is the size of some tensor's first dimension."""
    if not isinstance(size, fx.Node):
        return False
    if size.target == "size":
        return size.args[1:] == (0,)
    return getattr(size.target, "__name__", "") == "getitem" and size.args[1:] == (0,)


def _flattened(value: Tracked, start: Any, end: Any) -> Any:
    start, end = start % value.rank, end % value.rank
    if start > value.dim:
        return value.moved(rank=value.rank - (end - start))
    if (start, end, value.dim) != (1, value.rank - 1, 1):
        return UNKNOWN
    if value.rank == 2:
        return value
    known_area = value.rank == 4 and value.area is not None and value.inner is not None
    inner = value.area * value.inner if known_area else None  # type: ignore[operator]
    return value.moved(rank=2, inner=inner, area=None)


def _reduced(value: Tracked, dim: Any, keepdim: Any) -> Any:
    if dim is None:
        return None
    dims = {d % value.rank for d in (dim if isinstance(dim, tuple | list) else (dim,))}
    if value.dim in dims:  # a sum over channels does not depend on their order
        return value.moved(segments=(Space(1),), inner=1) if keepdim else None
    if keepdim:
        return value.moved(area=1 if dims == {2, 3} else None)
    return value.moved(rank=value.rank - len(dims), dim=value.dim - sum(d < value.dim for d in dims), area=None)


def _indexed(value: Tracked, index: Any) -> Any:
    entries = list(index) if isinstance(index, tuple | list) else [index]
    if Ellipsis in entries:
        at = entries.index(Ellipsis)
        named = sum(entry is not None for entry in entries) - 1
        entries[at : at + 1] = [slice(None)] * (value.rank - named)
    entries += [slice(None)] * (value.rank - sum(entry is not None for entry in entries))
    old = new = 0
    found = None
    for entry in entries:
        if entry is None:
            new += 1
            continue
        if old == value.dim:
            if entry != slice(None):
                return UNKNOWN
            found = new
        if isinstance(entry, slice):
            new += 1
        elif not isinstance(entry, int):
            return UNKNOWN
        old += 1
    return value.moved(rank=new, dim=found, area=None)


def _pads_maps_only(value: Tracked, sides: Any) -> bool:
    """Whether `torch.nn.functional.pad` leaves the channel dimension alone; its sides are listed from the last one."""
    if not isinstance(sides, tuple | list):
        return False
    own = 2 * (-value.from_right - 1)
    return all(isinstance(side, int) and side == 0 for side in sides[own : own + 2])
