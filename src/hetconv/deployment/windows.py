"""Pools, paddings, resizings and parts of tensors in a graph, as the native network takes them, or why it does not."""

from __future__ import annotations

import ctypes
import operator
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from hetconv.graph.calls import arguments
from hetconv.ops.arguments import Geometry
from hetconv.ops.network_steps import Sampling, Window


def max_pool_of(node: Node) -> Window | str:
    """A max pool's window, or why there is none."""
    given = arguments(node)
    return "max pooling with indices" if given.get("return_indices") else _window(given)


def average_pool_of(node: Node) -> tuple[Window, bool] | str:
    """An average pool's window and whether padding counts, or why there is none."""
    given = arguments(node)
    if given.get("divisor_override") is not None:
        return "average pooling with a divisor"
    return _window(given), bool(given.get("count_include_pad", True))


def mean_dims(node: Node) -> tuple[list[int], bool] | None:
    """The dimensions of a mean, counted from the first of four, and whether they stay; None without dimensions."""
    given = arguments(node)
    dims = given.get("dim")
    if not isinstance(dims, list | tuple) or given.get("dtype") is not None:
        return None
    return sorted(d % 4 for d in dims), bool(given.get("keepdim", False))


@dataclass(frozen=True)
class Part:
    """`x[:, begin:end, ::rows, ::columns]`"""

    begin: int
    end: int | None
    stride: tuple[int, int]


def part_of(node: Node) -> Part | None:
    """Which part of images is taken."""
    given: Any = node.args[1]
    wanted = given if isinstance(given, tuple) else (given,)
    if not all(isinstance(one, slice) for one in wanted) or len(wanted) > 4:
        return None
    cuts: list[Any] = [*wanted, *[slice(None)] * (4 - len(wanted))]
    batch, channels, rows, columns = cuts
    numbers = [one for cut in cuts for one in (cut.start, cut.stop, cut.step)]
    if not all(one is None or isinstance(one, int) for one in numbers):
        return None
    whole = all(cut.start in (None, 0) and cut.stop is None for cut in (batch, rows, columns))
    if not whole or batch.step not in (None, 1) or channels.step not in (None, 1):
        return None
    if (channels.start or 0) < 0 or (channels.stop is not None and channels.stop < 0):
        return None
    return Part(channels.start or 0, channels.stop, (rows.step or 1, columns.step or 1))


_SAMPLINGS: dict[tuple[str, bool], Sampling] = {
    ("nearest", False): "nearest", ("nearest-exact", False): "nearest-exact", ("bilinear", False): "bilinear",
    ("bilinear", True): "bilinear, corners aligned",
}  # fmt: skip


def resizing_of(node: Node) -> tuple[Sampling, Any, tuple[float, float]] | str:
    """How images are resized: how it samples, the size as the call has it or None, the scales; or why it is no step."""
    given = arguments(node)
    sampling = _SAMPLINGS.get((given["mode"], bool(given["align_corners"])))
    if sampling is None or given.get("antialias"):
        return f"resizing by {given['mode']}{' with antialias' if given.get('antialias') else ''}"
    if given["size"] is not None:
        return sampling, given["size"], (0.0, 0.0)
    scale = given["scale_factor"]
    scales = tuple(scale) if isinstance(scale, list | tuple) else (scale, scale)
    if not all(isinstance(one, int | float) for one in scales):
        return "resizing by a scale that is computed from the input"
    if any(ctypes.c_float(one).value != one for one in scales):
        return f"resizing by {scale}, which is no number of float32,"
    if given.get("recompute_scale_factor") and any(one != int(one) for one in scales):
        return f"resizing by {scale} with recompute_scale_factor"
    return sampling, None, (float(scales[0]), float(scales[1]))


def zero_sides(node: Node) -> tuple[int, ...] | None:
    """Left, right, top, bottom, channels before and after, of padding by zeros that makes nothing smaller."""
    given = arguments(node)
    sides = tuple(given["pad"])
    zeros = given["mode"] == "constant" and not given["value"]
    if not zeros or len(sides) > 6 or not all(isinstance(side, int) and side >= 0 for side in sides):
        return None
    return (*sides, *[0] * (6 - len(sides)))


def pair(value: Any) -> tuple[int, int]:
    """A size given as one number or as two."""
    both = tuple(value) if isinstance(value, list | tuple) else (value, value)
    both = both * 2 if len(both) == 1 else both
    return operator.index(both[0]), operator.index(both[1])


def _window(given: dict[str, Any]) -> Window:
    kernel = pair(given["kernel_size"])
    stride = pair(given.get("stride") or kernel)
    where = Geometry(stride, pair(given.get("padding", 0)), pair(given.get("dilation", 1)))
    return Window(kernel, where, bool(given.get("ceil_mode", False)))
