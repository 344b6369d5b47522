"""Functions that change a tensor's dimensions, and where its channels are afterwards."""

from __future__ import annotations

from typing import Any

from torch import fx
from torch.nn import functional

from hetconv.layout import operations as known
from hetconv.layout.flow import UNKNOWN
from hetconv.layout.spaces import Space, Tracked


def shaped(node: fx.Node, value: Tracked) -> Any:
    """Functions that move, drop or make dimensions, or work on each channel's map alone."""
    target, rest = node.target, node.args[1:]  # type: Any, Any
    if target is functional.pad:
        return value.moved(area=None) if _pads_maps_only(value, rest[0]) else UNKNOWN
    if target in known.PER_MAP or getattr(target, "__name__", "") in (
        "max_pool2d",
        "avg_pool2d",
        "adaptive_max_pool2d",
    ):
        adaptive = target is functional.adaptive_avg_pool2d
        area = known.adaptive_area(node.args[1]) if adaptive and len(node.args) > 1 else None
        return value.moved(area=area) if is_maps(value) else UNKNOWN
    if target in known.REDUCTIONS:
        return _reduced(value, _argument(node, 1, "dim", None), _argument(node, 2, "keepdim", False))
    if target in known.FLATTEN:
        return flattened(value, _argument(node, 1, "start_dim", 0), _argument(node, 2, "end_dim", -1))
    if target in known.RESHAPE:
        sizes = rest[0] if len(rest) == 1 else rest
        keeps_batch = isinstance(sizes, tuple | list) and len(sizes) == 2 and sizes[1] == -1 and _is_batch(sizes[0])
        return flattened(value, 1, -1) if keeps_batch else UNKNOWN
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


def is_maps(value: Tracked) -> bool:
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


def flattened(value: Tracked, start: Any, end: Any) -> Any:
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
