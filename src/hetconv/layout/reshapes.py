"""Functions that change a tensor's dimensions, and where its channels are afterwards."""

from __future__ import annotations

from typing import Any

from torch import fx

from hetconv.graph.calls import Operation
from hetconv.graph.operations import PER_MAP, REDUCTIONS
from hetconv.layout.flow import UNKNOWN
from hetconv.layout.spaces import Space, Tracked


def shaped(node: fx.Node, found: Operation, value: Tracked) -> Any:
    """Operations that move, drop or make dimensions, or work on each channel's map alone."""
    name, given, rest = found.name, found.arguments, node.args[1:]  # type: str, Any, Any
    if name == "pad":
        return value.moved(area=None) if _pads_maps_only(value, given.get("pad")) else UNKNOWN
    if name in PER_MAP:
        area = _area(given.get("output_size")) if name.startswith("adaptive") else None
        return value.moved(area=area) if is_maps(value) and not given.get("return_indices") else UNKNOWN
    if name in REDUCTIONS:
        return _reduced(value, given.get("dim"), given.get("keepdim", False))
    if name == "flatten":
        return _flattened(value, given.get("start_dim", 0), given.get("end_dim", -1))
    if name in ("reshape", "view"):
        sizes = rest[0] if len(rest) == 1 else rest
        keeps_batch = isinstance(sizes, tuple | list) and len(sizes) == 2 and sizes[1] == -1 and _is_batch(sizes[0])
        return _flattened(value, 1, -1) if keeps_batch else UNKNOWN
    if name == "permute" and rest:
        dims = rest[0] if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest
        return value.moved(dim=[dim % value.rank for dim in dims].index(value.dim), area=None)
    if name == "transpose" and len(rest) == 2:
        one, other = (dim % value.rank for dim in rest)
        return value.moved(dim={one: other, other: one}.get(value.dim, value.dim), area=None)
    if name == "unsqueeze":
        dim = given["dim"] % (value.rank + 1)
        return value.moved(rank=value.rank + 1, dim=value.dim + (dim <= value.dim), area=None)
    return _indexed(value, rest[0]) if name == "getitem" else UNKNOWN


def is_maps(value: Tracked) -> bool:
    return value.rank == 4 and value.dim == 1 and value.inner is not None


def _area(size: Any) -> int | None:
    """H·W behind an adaptive pool, where it is known."""
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return height * width if isinstance(height, int) and isinstance(width, int) else None


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
