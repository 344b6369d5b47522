"""A captured graph as the steps of one native network in float32; `int8.lower` writes some of them in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from hetconv.deployment.step_values import Batch, Column, Extent, Groups, Known, NotAStepError, Pieces, Sizes
from hetconv.deployment.windows import average_pool_of, max_pool_of, mean_dims, pair, part_of, resizing_of, zero_sides
from hetconv.errors import UsageError
from hetconv.graph.calls import activation, arguments, called, is_batch_norm, operation
from hetconv.graph.captured import Captured, call
from hetconv.graph.folding import Statistics, why_not_statistics
from hetconv.graph.operations import ARITHMETIC, ELEMENTWISE
from hetconv.graph.tracing import reason_of
from hetconv.ops import network_steps as network
from hetconv.ops.arguments import Geometry, geometry
from hetconv.ops.network_steps import NO_SCALE, Affine, Joining, Resizing, Step, Window
from hetconv.ops.packed import ACTIVATIONS
from hetconv.pattern import HetPattern


@dataclass(frozen=True)
class Steps:
    """What a graph's one native call does.

    Attributes:
        flat: whether the output is (B, N) and not (B, N, H, W).
        contiguous: whether it is in PyTorch's usual layout.
        refused: calls that no step computes, with the reasons; then there is no such network.
    """

    in_channels: int
    steps: tuple[Step, ...]
    flat: bool
    contiguous: bool
    refused: tuple[tuple[str, str], ...]


_TO_ONE_PIXEL = ((slice(None), slice(None), None, None), (..., None, None))
"""Indices that make numbers an image of one pixel."""
_CHANNELS_LAST, _CHANNELS_FIRST, _GROUPS_TURNED = (0, 2, 3, 1), (0, 3, 1, 2), (0, 2, 1, 3, 4)
_PER_PIXEL = ELEMENTWISE | ARITHMETIC | {"add_", "contiguous", "layer_norm", "permute"}
"""What is computed alike of images (B, C, H, W) and (B, H, W, C)."""
JOININGS: dict[str, Joining] = {
    "add": "sum", "add_": "sum", "mul": "product", "sub": "difference", "div": "quotient", "truediv": "quotient",
    "true_divide": "quotient",
    "maximum": "maximum", "minimum": "minimum", "max": "maximum", "min": "minimum",
}  # fmt: skip
"""Functions of two values, as calls name them."""
RESIZING = ("interpolate", "upsample")


def steps_of(captured: Captured, channels: int | None) -> Steps:
    """The steps of a graph of one batch of images with so many channels, and one tensor as output.

    The graph is as it runs: constants are packed where a layer of `captured.packed` reads them.
    """
    if len(captured.placeholders) != 1 or channels is None:
        return Steps(0, (), False, False, (("the call", "it takes something else than one batch of images"),))
    return Lowering(captured, channels).run()


class Lowering:
    """Walks over a graph and writes its steps, all of them in float32."""

    def __init__(self, captured: Captured, channels: int) -> None:
        self.captured, self.channels = captured, channels
        self.steps: list[Step] = []
        self.known: dict[Node, Any] = {}
        self.same: dict[Node, Node] = {}
        self.refused: list[tuple[str, str]] = []
        self.unknown: set[Node] = set()
        self.real: dict[int, Known] = {}

    def run(self) -> Steps:
        flat = contiguous = False
        for node in self.captured.graph.nodes:
            if node.op == "placeholder":
                self.known[node] = Known(0, self.channels)
            elif node.op == "output":
                flat, contiguous = self._output(node)
            elif node.op != "get_attr":
                self._visit(node)
        return Steps(self.channels, tuple(self.steps), flat, contiguous, tuple(self.refused))

    def _visit(self, node: Node) -> None:
        if any(used in self.unknown for used in node.all_input_nodes):
            self.unknown.add(node)  # the reason is the other's
            return
        try:
            self.known[node] = self._computed(node)
        except (NotAStepError, UsageError) as error:
            self._refuse(node, str(error))
        except (TypeError, ValueError, LookupError, RuntimeError) as error:  # of arguments that no step has
            self._refuse(node, f"its arguments are none of the native network's: {reason_of(error)}")

    def _computed(self, node: Node) -> Any:
        given = [self.known[used] for used in node.all_input_nodes if used in self.known]
        if given and all(isinstance(one, int) for one in given):  # sizes
            return call(node, *map_arg((node.args, node.kwargs), self.known.__getitem__))
        orders = {one.permuted for one in given if isinstance(one, Known)}
        if orders <= {False}:
            return self._call(node)
        if called(node) not in _PER_PIXEL or len(orders) > 1:
            raise NotAStepError(f"{called(node)} of channels that are the last dimension is none of its operations")
        found = self._call(node)
        return found if called(node) == "permute" else replace(found, permuted=True)

    def _refuse(self, node: Node, reason: str) -> None:
        self.unknown.add(node)
        self.refused.append((node.name, reason))

    def _call(self, node: Node) -> Any:
        kind = activation(node)
        if kind is not None:
            return self._activation(node, kind)
        if is_batch_norm(node):
            return self._batch_norm(node)
        handler = OPERATIONS.get(called(node))
        if handler is None:
            raise NotAStepError(f"{called(node)} is no operation of the native network")
        return getattr(self, handler.__name__)(node)  # in 8 bits, another class's method of the same name

    def _output(self, node: Node) -> tuple[bool, bool]:
        last = node.args[0]
        if not isinstance(last, Node):
            self.refused.append(("output", "the network gives more than one tensor"))
        elif last not in self.unknown:
            value = self.known.get(last)
            if isinstance(value, Known) and value.permuted:
                self.refused.append(("output", "its channels are the last dimension"))
                return False, False
            if isinstance(value, Known) and value.of is not None:
                value = self._float32(last)
            if isinstance(value, Known) and value.number == len(self.steps) > 0:
                usual = called(last) == "contiguous" and "memory_format" not in last.kwargs
                return value.flat, usual
            self.refused.append(("output", "it is not what the last step computes"))
        return False, False

    def _add(
        self, step: Step, channels: int | None, like: Known | None = None, one_pixel: bool = False,
        of: Affine | None = None,
    ) -> Known:  # fmt: skip
        self.steps.append(step)
        if like is None:
            return Known(len(self.steps), channels, False, one_pixel, of)
        one_pixel = one_pixel or like.flat or like.one_pixel
        return Known(len(self.steps), channels, like.flat, one_pixel, of, like.permuted)

    def _value(self, node: Any) -> Known:
        """As it was computed, float32 or u8."""
        value = self.known.get(node) if isinstance(node, Node) else None
        if isinstance(value, Batch | Extent):
            raise NotAStepError("it computes with an image's size")
        if not isinstance(value, Known):
            raise NotAStepError(f"{node} is no value of the network's images")
        return value

    def _float32(self, node: Any) -> Known:
        value = self._value(node)
        if value.of is not None and value.number not in self.real:
            step = network.dequantize(value.number, value.of)
            self.real[value.number] = self._add(step, value.channels)
        return value if value.of is None else replace(value, number=self.real[value.number].number, of=None)

    def _preferred(self, node: Any) -> Known:
        """For steps that compute with float32 and u8 alike."""
        return self._value(node)

    def _images(self, value: Known) -> Known:
        if value.flat:
            raise NotAStepError("its input is no batch of images")
        return value

    def _constant(self, node: Any) -> Tensor:
        value = self.captured.constant(node)
        if value is None:
            raise NotAStepError(f"{node} is computed from the input")
        return value

    def _bias(self, node: Any, channels: int) -> Tensor:
        return torch.zeros(channels) if node is None else self._constant(node)

    def _packed(self, node: Node) -> Known:
        x, weights, bias, residual, numbers = node.args
        value = self._images(self._float32(x))
        pattern = self.captured.packed.get(str(getattr(weights, "target", "")))
        if pattern is None:
            raise NotAStepError("its weights are not packed")
        where, kind = _layer(numbers, pattern)
        added = None if residual is None else self._images(self._float32(residual)).number
        step = network.packed_convolution(
            value.number, pattern, self._constant(weights), self._bias(bias, pattern.out_channels), where, kind, added
        )
        return self._add(step, pattern.out_channels, one_pixel=value.one_pixel and where.padding == (0, 0))

    def _convolution(self, node: Node) -> Known:
        given = arguments(node)
        value, weight = self._images(self._float32(given["input"])), self._constant(given["weight"])
        kernel = int(weight.shape[2]), int(weight.shape[3])
        where = _geometry(given, kernel)
        bias = self._bias(given["bias"], weight.shape[0])
        step = network.grouped_convolution(value.number, weight, bias, Window(kernel, where), int(given["groups"]))
        return self._add(step, int(weight.shape[0]), one_pixel=value.one_pixel and where.padding == (0, 0))

    def _activation(self, node: Node, kind: str) -> Known:
        source = node.args[0]
        value = self._float32(source)
        if value.number == len(self.steps) > 0 and self._is_alone(source):
            joined = network.with_activation(self.steps[-1], kind)
            if joined is not None:
                self.steps[-1] = joined
                return value
        one = torch.ones(1)
        return self._add(network.float_affine(value.number, one, torch.zeros(1), kind), value.channels, value)

    def _is_alone(self, node: Any) -> bool:
        """Whether nothing but the node's one user reads its value, under no other name either."""
        while len(node.users) == 1 and node in self.same:
            node = self.same[node]
        return len(node.users) == 1

    def _renamed(self, node: Node, source: Any, value: Known) -> Known:
        self.same[node] = source
        return value

    def _batch_norm(self, node: Node) -> Known:
        norm = operation(node, {})
        assert norm is not None
        value = self._float32(norm["input"])
        reason = why_not_statistics(norm)
        if reason is not None:
            raise NotAStepError(reason)
        scale, shift = Statistics.of(norm, self.captured.constants.__getitem__).affine()
        return self._add(network.float_affine(value.number, scale, shift), len(scale), value)

    def _join(self, node: Node) -> Known:
        if len(node.args) != 2 or node.kwargs:
            raise NotAStepError("it is no function of two values alone")
        joining = JOININGS[called(node)]
        first, other = node.args
        is_left = isinstance(self.known.get(first), Known)  # type: ignore[arg-type]
        source, second = (first, other) if is_left else (other, first)
        value = self._float32(source)
        number = self._number(second, value)
        if number is not None:
            step = network.float_affine(value.number, *_affine_of(joining, number, is_left))
            return self._add(step, value.channels, value)
        added = self._float32(second)
        if added.flat != value.flat:
            raise NotAStepError("its operands have other dimensions")
        if value.one_pixel and not added.one_pixel:
            if joining in ("difference", "quotient"):
                raise NotAStepError(f"it is a {joining} of one pixel and an image")
            value, added = added, value
        return self._add(network.float_join(value.number, added.number, joining), value.channels, value)

    def _number(self, node: Any, value: Known) -> Tensor | None:
        """A constant as one number, or one for each channel; None if it is something else."""
        if isinstance(node, int | float) and not isinstance(node, bool):
            return torch.tensor([float(node)])
        constant = self.captured.constant(node)
        if constant is None:
            return None
        shape = tuple(constant.shape)
        while shape and shape[0] == 1 and len(shape) > (1 if value.ends_in_channels else 3):
            shape = shape[1:]
        if prod(shape) == 1 or (
            value.channels is not None and shape == (value.channels, *[1] * (0 if value.ends_in_channels else 2))
        ):
            return constant.reshape(-1)
        raise NotAStepError(f"a constant of shape {tuple(constant.shape)} is none of channels")

    def _max_pool(self, node: Node) -> Known:
        window = max_pool_of(node)
        if isinstance(window, str):
            raise NotAStepError(f"{window} is no operation of the native network")
        return self._largest(self._images(self._preferred(node.args[0])), window)

    def _largest(self, value: Known, window: Window) -> Known:
        return self._add(network.max_pool(value.number, window), value.channels, of=value.of)

    def _average_pool(self, node: Node) -> Known:
        found = average_pool_of(node)
        if isinstance(found, str):
            raise NotAStepError(f"{found} is no operation of the native network")
        value = self._images(self._preferred(node.args[0]))
        return self._add(network.average_pool(value.number, found[0], value.of or NO_SCALE, found[1]), value.channels,
                         of=value.of)  # fmt: skip

    def _adaptive_pool(self, node: Node) -> Known:
        return self._average(node.args[0], pair(arguments(node)["output_size"]))

    def _average(self, node: Any, size: tuple[int, int] = (1, 1)) -> Known:
        value = self._images(self._value(node))
        if value.one_pixel and size == (1, 1):
            return value
        if value.of is not None and size == (1, 1):
            return self._add(network.global_average(value.number, value.of), value.channels, one_pixel=True)
        value = self._float32(node)
        return self._add(network.adaptive_average(value.number, size), value.channels, one_pixel=size == (1, 1))

    def _mean(self, node: Node) -> Known:
        found = mean_dims(node)
        if found is None or found[0] != [2, 3]:
            raise NotAStepError("it is a mean of other dimensions than the image's")
        mean = self._average(node.args[0])
        return mean if found[1] else replace(mean, flat=True, one_pixel=True)

    def _flatten(self, node: Node) -> Known:
        given = arguments(node)
        groups = self.known.get(node.args[0])  # type: ignore[arg-type]
        if isinstance(groups, Groups) and (given.get("start_dim"), given.get("end_dim")) == (1, 2):
            return self._in_order(groups)
        if given.get("start_dim", 0) != 1 or given.get("end_dim", -1) not in (-1, 3):
            raise NotAStepError("it flattens other dimensions than the image's")
        return self._flattened(node, self._value(node.args[0]), None)

    def _flattened(self, node: Node, value: Known, wanted: int | None) -> Known:
        if value.flat:
            if wanted not in (None, value.channels):
                raise NotAStepError("it is no flattening")
            return self._renamed(node, node.args[0], value)
        if value.one_pixel and wanted in (None, value.channels):
            return self._renamed(node, node.args[0], replace(value, flat=True))
        made = self._add(network.flatten(value.number, wanted), wanted, of=value.of)
        return replace(made, flat=True, one_pixel=True)

    def _reshape(self, node: Node) -> Known | Groups:
        """To (batch, numbers), or (batch, numbers) to images of one pixel; channels to groups of them, and back."""
        source = self.known.get(node.args[0])  # type: ignore[arg-type]
        sizes: Any = node.args[1:] if not isinstance(node.args[1], list | tuple) else node.args[1]
        whole: list[Any] = [self.known.get(one, one) if isinstance(one, Node) else one for one in sizes]
        batch = whole[0] == Batch() or whole[0] == -1
        if isinstance(source, Groups):
            if batch and whole[1] in (-1, source.channels.numel()) and _are_sides(whole[2:], source.of):
                return self._in_order(source)
            raise NotAStepError("it gives another form than its images'")
        value = self._value(node.args[0])
        if batch and len(whole) == 5 and value.channels is not None and _are_sides(whole[3:], value):
            return Groups(value, torch.arange(value.channels).reshape(whole[1:3]))
        if batch and len(whole) == 2 and isinstance(whole[1], int):
            return self._flattened(node, value, None if whole[1] == -1 else whole[1])
        if batch and value.flat and whole[2:] == [1, 1] and isinstance(whole[1], int):
            channels = value.channels if value.channels is not None or whole[1] == -1 else whole[1]
            if whole[1] in (-1, channels):
                return self._renamed(node, node.args[0], replace(value, channels=channels, flat=False))
        raise NotAStepError("it gives another form than (batch, numbers)")

    def _concatenate(self, node: Node) -> Known:
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        parts = node.args[0]
        if not isinstance(parts, list | tuple):
            raise NotAStepError("it is of an unknown number of tensors")
        return self._concatenated([self._float32(part) for part in parts], dim)

    def _concatenated(self, values: list[Known], dim: Any) -> Known:
        flat = values[0].flat
        if any(value.flat != flat for value in values) or dim not in ((1, -1) if flat else (1, -3)):
            raise NotAStepError("only channels are concatenated")
        counts = [value.channels for value in values]
        channels = None if None in counts else sum(count for count in counts if count is not None)
        made = self._add(network.concatenate([value.number for value in values]), channels, values[0], of=values[0].of)
        return replace(made, one_pixel=all(value.one_pixel for value in values))

    def _take(self, node: Node) -> Any:
        source = self.known.get(node.args[0])  # type: ignore[arg-type]
        index = node.args[1]
        if isinstance(source, Sizes | tuple):
            return source[index] if isinstance(index, int) else tuple(source[at] for at in _places(source, index))
        if isinstance(source, Pieces) and isinstance(index, int):
            return source.parts[index]
        if isinstance(source, Known) and source.flat and index in _TO_ONE_PIXEL:
            return self._one_pixel(node, source)
        return self._slice(node)

    def _one_pixel(self, node: Node, value: Known) -> Known:
        return self._renamed(node, node.args[0], replace(value, flat=False, one_pixel=True))

    def _unsqueeze(self, node: Node) -> Known | Column:
        source, dim = self.known.get(node.args[0]), arguments(node).get("dim")  # type: ignore[arg-type]
        if isinstance(source, Known) and source.flat and dim in (2, -1):
            self.same[node] = node.args[0]  # type: ignore[assignment]
            return Column(source)
        if isinstance(source, Column) and dim in (2, 3, -1):
            return self._one_pixel(node, source.of)
        raise NotAStepError("it gives another form than an image of one pixel")

    def _shape(self, node: Node) -> Any:
        if called(node) == "getattr" and node.args[1] != "shape":
            raise NotAStepError(f"it reads a tensor's {node.args[1]}")
        value = self._value(node.args[0])
        asked = node.args[1] if called(node) == "size" and len(node.args) > 1 else None
        return Sizes(value)[asked] if isinstance(asked, int) else Sizes(value)

    def _slice(self, node: Node) -> Known:
        part = part_of(node)
        if part is None:
            raise NotAStepError("this part of a tensor is no operation of the native network")
        all_channels = part.begin == 0 and part.end is None
        if all_channels and part.stride == (1, 1):
            return self._renamed(node, node.args[0], self._images(self._value(node.args[0])))
        value = self._images(self._preferred(node.args[0]) if all_channels else self._value(node.args[0]))
        if part.stride != (1, 1):
            value = self._largest(value, Window((1, 1), Geometry(part.stride)))
        if all_channels:
            return value
        if value.channels is None:
            raise NotAStepError("how many channels there are is not known")
        return self._channels(value, part.begin, min(value.channels, part.end or value.channels))

    def _channels(self, value: Known, begin: int, end: int) -> Known:
        if begin >= end:
            raise NotAStepError("it takes no channels")
        return self._select(value, range(begin, end))

    def _select(self, value: Known, channels: Sequence[int]) -> Known:
        step = network.select_channels(value.number, channels)
        return self._add(step, len(channels), value, of=value.of)

    def _in_order(self, groups: Groups) -> Known:
        return self._select(groups.of, groups.channels.flatten().tolist())

    def _channel_shuffle(self, node: Node) -> Known:
        groups: Any = node.args[1]
        value = self._images(self._value(node.args[0]))
        if value.channels is None:
            raise NotAStepError("how many channels there are is not known")
        return self._in_order(Groups(value, torch.arange(value.channels).reshape(groups, -1).t()))

    def _transpose(self, node: Node) -> Groups:
        given, source = arguments(node), self.known.get(node.args[0])  # type: ignore[arg-type]
        if not isinstance(source, Groups) or {given["dim0"], given["dim1"]} != {1, 2}:
            raise NotAStepError("it transposes something else than groups of channels")
        return replace(source, channels=source.channels.t())

    def _permute(self, node: Node) -> Known | Groups:
        dims = node.args[1:] if isinstance(node.args[1], int) else node.args[1]
        order = tuple(dim % len(dims) for dim in dims)  # type: ignore[operator, arg-type, union-attr]
        source = self.known.get(node.args[0])  # type: ignore[arg-type]
        if isinstance(source, Groups) and order == _GROUPS_TURNED:
            return replace(source, channels=source.channels.t())
        value = self._images(self._value(node.args[0]))
        if order != (_CHANNELS_FIRST if value.permuted else _CHANNELS_LAST):
            raise NotAStepError(f"it puts the dimensions in the order {order}")
        return self._renamed(node, node.args[0], replace(value, permuted=not value.permuted))

    def _layer_norm(self, node: Node) -> Known:
        given, value = arguments(node), self._float32(node.args[0])
        channels = value.channels
        if not value.ends_in_channels or channels is None or tuple(given["normalized_shape"]) != (channels,):
            raise NotAStepError("it is a layer norm over other dimensions than each pixel's channels")
        weight = torch.ones(channels) if given["weight"] is None else self._constant(given["weight"])
        step = network.layer_norm(value.number, given["eps"], weight, self._bias(given["bias"], channels))
        return self._add(step, channels, value)

    def _resize(self, node: Node) -> Known:
        found = resizing_of(node)
        if isinstance(found, str):
            raise NotAStepError(f"{found} is no operation of the native network")
        value = self._images(self._value(node.args[0]))
        sampling, size, scale = found
        like = None
        if size is not None:
            sides = self._sides(size)
            if isinstance(sides, Known):
                like = sides.number
            resizing = Resizing(sampling, (0, 0) if isinstance(sides, Known) else sides)
        else:
            resizing = Resizing(sampling, scale=scale)
        return self._add(network.resize(value.number, resizing, like), value.channels, of=value.of)

    def _sides(self, size: Any) -> tuple[int, int] | Known:
        """Height and width as numbers, or the value whose they are."""
        given = self.known.get(size) if isinstance(size, Node) else size
        both = tuple(given) if isinstance(given, list | tuple) else (given, given)
        both = tuple(self.known.get(one) if isinstance(one, Node) else one for one in both)
        if len(both) == 2 and all(isinstance(one, int) for one in both):
            return both
        of = both[0].of if isinstance(both[0], Extent) else None
        if of is None or not _are_sides(both, of):
            raise NotAStepError("it computes with an image's size")
        return of

    def _pieces(self, node: Node) -> Pieces:
        given = arguments(node)
        value = self._images(self._value(node.args[0]))
        parts = given.get("chunks" if called(node) == "chunk" else "split_size_or_sections", given.get("split_size"))
        if given.get("dim", 0) not in (1, -3) or value.channels is None:
            raise NotAStepError("only channels are split")
        if isinstance(parts, int):
            size = -(-value.channels // parts) if called(node) == "chunk" else parts
            parts = [min(size, value.channels - at) for at in range(0, value.channels, size)]
        if not isinstance(parts, list | tuple) or not all(isinstance(one, int) for one in parts):
            raise NotAStepError("its parts are computed from the input")
        begins = [sum(parts[:at]) for at in range(len(parts))]
        return Pieces(tuple(self._channels(value, at, at + one) for at, one in zip(begins, parts, strict=True)))

    def _pad(self, node: Node) -> Known:
        sides = zero_sides(node)
        if sides is None:
            raise NotAStepError("only zeros are padded")
        left, right, top, bottom, before, after = sides
        around = any(sides[:4])
        value = self._images(self._preferred(node.args[0]))
        if around:
            step = network.pad_image(value.number, top, bottom, left, right, value.of or NO_SCALE)
            value = self._add(step, value.channels, of=value.of)
        if before or after:
            channels = None if value.channels is None else before + value.channels + after
            step = network.pad_channels(value.number, before, after, value.of or NO_SCALE)
            value = self._add(step, channels, of=value.of)
        return value

    def _squeeze(self, node: Node) -> Known:
        given = arguments(node)
        dims = given.get("dim")
        value = self._value(node.args[0])
        if not isinstance(dims, list | tuple) or sorted(d % 4 for d in dims) != [2, 3] or not value.one_pixel:
            raise NotAStepError("it squeezes something else than an image of one pixel")
        return self._flattened(node, value, None)

    def _layout(self, node: Node) -> Known | Groups:
        source = self.known.get(node.args[0])  # type: ignore[arg-type]
        return source if isinstance(source, Groups) else self._renamed(node, node.args[0], self._value(node.args[0]))


def _layer(numbers: Any, pattern: HetPattern) -> tuple[Geometry, str | None]:
    """What `layer_numbers` says of a layer with this pattern."""
    out_channels, p, *rest, shifted, kind = (int(number) for number in numbers)
    arrangement = "shifted" if shifted else "blocked"
    kernel, stride, padding, dilation = ((rest[i], rest[i + 1]) for i in range(0, 8, 2))
    mine = (pattern.out_channels, pattern.p, pattern.kernel_hw, pattern.arrangement)
    if mine != (out_channels, p, kernel, arrangement) or kind not in range(len(ACTIVATIONS)):
        raise NotAStepError("its numbers are those of another layer")
    return Geometry(stride, padding, dilation), ACTIVATIONS[kind]


def _affine_of(joining: Joining, number: Tensor, is_left: bool) -> tuple[Tensor, Tensor]:
    """The scale and the shift that are a function of a value and a constant; the value is its left operand or not."""
    one, none = torch.ones_like(number), torch.zeros_like(number)
    if joining == "difference":
        return (one, -number) if is_left else (-one, number)
    if joining == "quotient" and is_left:
        return 1 / number.double(), none
    if joining in ("sum", "product"):
        return (one, number) if joining == "sum" else (number, none)
    raise NotAStepError(f"it is a {joining} of a constant")


def _are_sides(sizes: Sequence[Any], of: Known) -> bool:
    """Whether these are the height and the width of a value."""
    both = [(one.of.number, one.axis) if isinstance(one, Extent) else None for one in sizes]
    return both == [(of.number, 2), (of.number, 3)]


def _places(sizes: Sizes | tuple[Any, ...], index: Any) -> range:
    if not isinstance(index, slice):
        raise NotAStepError("it takes a part of a shape that no step needs")
    return range(*index.indices(len(sizes)))


def _geometry(given: Mapping[str, Any], kernel: tuple[int, int]) -> Geometry:
    padding = given["padding"]
    if isinstance(padding, str):
        if padding != "valid" and min(size % 2 for size in kernel) == 0:
            raise NotAStepError(f"padding={padding!r} of a kernel of even size is not the same on both sides")
        return geometry(pair(given["stride"]), padding, pair(given["dilation"]), kernel)
    return Geometry(pair(given["stride"]), pair(padding), pair(given["dilation"]))


OPERATIONS: dict[str, Callable[[Lowering, Node], Any]] = {
    "het_conv2d_packed": Lowering._packed,
    "conv2d": Lowering._convolution,
    "max_pool2d": Lowering._max_pool,
    "avg_pool2d": Lowering._average_pool,
    "adaptive_avg_pool2d": Lowering._adaptive_pool,
    "mean": Lowering._mean,
    "flatten": Lowering._flatten,
    "reshape": Lowering._reshape,
    "squeeze": Lowering._squeeze,
    "unsqueeze": Lowering._unsqueeze,
    **dict.fromkeys(JOININGS, Lowering._join),
    "permute": Lowering._permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), Lowering._transpose),
    "channel_shuffle": Lowering._channel_shuffle,
    "layer_norm": Lowering._layer_norm,
    **dict.fromkeys(RESIZING, Lowering._resize),
    "getitem": Lowering._take,
    "getattr": Lowering._shape,
    "size": Lowering._shape,
    "chunk": Lowering._pieces,
    "split": Lowering._pieces,
    "pad": Lowering._pad,
    "cat": Lowering._concatenate,
    "concat": Lowering._concatenate,
    "contiguous": Lowering._layout,
}
