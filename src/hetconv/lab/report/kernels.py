"""Drawings of a het layer's kernels in the manner of the paper's Fig. 3: filters down, input channels across.

Large layers repeat: one period is drawn, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hetconv.pattern import Arrangement, HetPattern
from hetconv.records import LayerCost

PERIOD_AT_LEAST = 8
PERIOD_AT_MOST = 32
CUT_AT = 16
CELL = 15.0
GAP = 3.0


@dataclass(frozen=True)
class Cells:
    """A grid of kernels: `spatial[row][column]` is true for K×K.

    `scope` says in words what is drawn.
    """

    kernel_hw: tuple[int, int]
    spatial: tuple[tuple[bool, ...], ...]
    scope: str


@dataclass(frozen=True)
class Drawing:
    """One picture and the layers that it is true of, each as (name, in words)."""

    cells: Cells
    p: int
    arrangement: str
    layers: tuple[tuple[str, str], ...]


def drawings(layers: Iterable[LayerCost]) -> tuple[Drawing, ...]:
    """One drawing for all layers whose picture is the same, in the order of the network."""
    grouped: dict[tuple[Cells, int, str], list[tuple[str, str]]] = {}
    for layer in layers:
        pattern = pattern_of(layer)
        if pattern is not None:
            key = (cells(pattern), pattern.p, pattern.arrangement)
            grouped.setdefault(key, []).append((layer.name, _describe(pattern)))
    return tuple(Drawing(*key, tuple(names)) for key, names in grouped.items())


def pattern_of(layer: LayerCost) -> HetPattern | None:
    """The pattern of a het layer, None for any other kind."""
    if layer.kind != "het" or layer.p is None:
        return None
    height, width = layer.kernel_size if len(layer.kernel_size) == 2 else layer.kernel_size * 2
    arrangement: Arrangement = "blocked" if layer.arrangement == "blocked" else "shifted"
    return HetPattern(layer.in_channels, layer.out_channels, (height, width), layer.p, arrangement)


def cells(pattern: HetPattern) -> Cells:
    """The part of a layer that is worth drawing: all of it, or one period of it."""
    filters, channels, p = pattern.out_channels, pattern.in_channels, pattern.p
    if max(filters, channels) <= max(p, PERIOD_AT_LEAST) and max(filters, channels) <= PERIOD_AT_MOST:
        return _grid(pattern, range(filters), range(channels), "The whole layer.")
    if pattern.arrangement == "blocked":
        rows, columns = range(0, filters, filters // p), range(0, channels, channels // p)
        shown = p if p <= PERIOD_AT_MOST else CUT_AT
        cut = "" if shown == p else f"; the first {shown} of {p} blocks are drawn"
        return _grid(pattern, rows[:shown], columns[:shown], f"A square stands for a whole block of kernels{cut}.")
    period = p * -(-PERIOD_AT_LEAST // p)
    shown = period if period <= PERIOD_AT_MOST else CUT_AT
    scope = f"The pattern repeats every {p} filters and channels" if p > 1 else "All kernels are alike"
    scope += f"; its first {min(shown, filters)} × {min(shown, channels)} are drawn."
    return _grid(pattern, range(min(shown, filters)), range(min(shown, channels)), scope)


def kernel_paths(grid: Cells) -> tuple[str, str, float, float]:
    """SVG path data of the K×K kernels tap by tap, of the 1×1 kernels, and the grid's width and height."""
    spatial, pointwise = [], []
    for row, marks in enumerate(grid.spatial):
        for column, is_spatial in enumerate(marks):
            x, y = column * (CELL + GAP), row * (CELL + GAP)
            if is_spatial:
                spatial.extend(_taps(x, y, grid.kernel_hw))
            else:
                pointwise.append(_square(x + CELL / 3, y + CELL / 3, CELL / 3, CELL / 3))
    width = len(grid.spatial[0]) * (CELL + GAP) - GAP
    height = len(grid.spatial) * (CELL + GAP) - GAP
    return "".join(spatial), "".join(pointwise), width, height


def _grid(pattern: HetPattern, filters: range, channels: range, scope: str) -> Cells:
    rows = tuple(tuple(c in spatial for c in channels) for n in filters for spatial in (pattern.spatial_channels(n),))
    return Cells(pattern.kernel_hw, rows, scope)


def _taps(x: float, y: float, kernel_hw: tuple[int, int]) -> list[str]:
    """The K×K taps of one kernel as small squares that fill its cell."""
    height, width = (CELL / k for k in kernel_hw)
    line = 0.12 * min(height, width)
    return [
        _square(x + column * width, y + row * height, width - line, height - line)
        for row in range(kernel_hw[0])
        for column in range(kernel_hw[1])
    ]


def _square(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:.4g} {y:.4g}h{width:.3g}v{height:.3g}h-{width:.3g}z"


def _describe(pattern: HetPattern) -> str:
    k = "×".join(map(str, pattern.kernel_hw))
    words = (
        f"{pattern.in_channels} → {pattern.out_channels} channels; each filter has "
        f"{pattern.spatial_per_filter} {k} and {pattern.pointwise_per_filter} 1×1 kernels"
    )
    if pattern.arrangement == "shifted":
        return words
    return f"{words}; a block is {pattern.out_channels // pattern.p} filters × {pattern.spatial_per_filter} channels"
