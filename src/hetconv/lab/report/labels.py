"""Names written next to points, none over another, over a point or over a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

# Where a label may stand, in points from its mark: near first, then farther out with a line to the mark.
RADII = (8, 18, 30, 44, 60)
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))
PLACES = tuple(product(RADII, DIRECTIONS))
LEADER_FROM = 12
CLEARANCE = 2.5
MISTAKABLE = 100.0

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


@dataclass(frozen=True)
class Point:
    """A mark at (x, y) in data coordinates, with the bars that belong to it as (low, high)."""

    text: str
    colour: str
    x: float
    y: float
    x_bar: tuple[float, float]
    y_bar: tuple[float, float]


def write_labels(axes: Axes, points: Sequence[Point], gid: str, slots: Sequence[int]) -> None:
    """Write every point's text at the first place that is free, or at the least crowded one."""
    taken = [box for point in points for box in _obstacles(axes, point)]
    for point, slot in zip(points, slots, strict=True):
        size = _size(axes, point.text)
        best, least = PLACES[0], float("inf")
        for place in PLACES:
            box = _box(axes, point, size, *place)
            crowding = _crowding(axes, box, taken)
            others = [_obstacles(axes, other)[0] for other in points if other is not point]
            if place[0] < LEADER_FROM:
                mistakable = _is_nearer_to_another(axes, box, point, points)
            else:
                mistakable = _leads_over(axes, box, point, others)
            crowding += MISTAKABLE * mistakable
            if crowding < least:
                best, least = place, crowding
            if crowding == 0:
                break
        _write(axes, point, *best).set_gid(f"{gid}-label-{slot}")
        taken.append(_box(axes, point, size, *best))


def _size(axes: Axes, text: str) -> tuple[float, float]:
    """Width and height of a text in pixels, with the clearance around it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    label = axes.text(0, 0, text, parse_math=False)
    box = label.get_window_extent(renderer).padded(CLEARANCE * axes.figure.dpi / 72)
    label.remove()
    return float(box.width), float(box.height)


def _box(axes: Axes, point: Point, size: tuple[float, float], radius: float, direction: tuple[float, float]) -> Box:
    """Where a label would stand."""
    scale, foot = axes.figure.dpi / 72, axes.transData.transform((point.x, point.y))
    low = []
    for start, length, side in zip(foot, size, direction, strict=True):
        middle = float(start) + radius * side * scale
        low.append(middle - length / 2 if side == 0 else middle if side > 0 else middle - length)
    return low[0], low[1], low[0] + size[0], low[1] + size[1]


def _write(axes: Axes, point: Point, radius: float, direction: tuple[float, float]) -> Annotation:
    dx, dy = direction
    leader = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
    return axes.annotate(
        point.text,
        (point.x, point.y),
        xytext=(radius * dx, radius * dy),
        textcoords="offset points",
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="bottom" if dy > 0 else "top" if dy < 0 else "center",
        arrowprops=leader if radius > LEADER_FROM else None,
        parse_math=False,
        annotation_clip=False,
    )


def _obstacles(axes: Axes, point: Point) -> tuple[Box, Box, Box]:
    """The mark and its two bars."""
    scale = axes.figure.dpi / 72
    (x, y), (left, bottom), (right, top) = axes.transData.transform(
        [(point.x, point.y), (point.x_bar[0], point.y_bar[0]), (point.x_bar[1], point.y_bar[1])]
    ).tolist()
    mark, line = 5 * scale, 2 * scale
    return (
        (x - mark, y - mark, x + mark, y + mark),
        (left, y - line, right, y + line),
        (x - line, bottom, x + line, top),
    )


def _crowding(axes: Axes, box: Box, taken: Sequence[Box]) -> float:
    """Square pixels of a box that lie over others or outside of the axes."""
    outside = _common(box, box) - _common(box, axes.bbox.extents)
    return sum(_common(box, other) for other in taken) + (outside if outside > 1 else 0.0)


def _is_nearer_to_another(axes: Axes, box: Box, point: Point, points: Sequence[Point]) -> bool:
    """Whether a reader could take a label without a line for another mark's."""

    def distance(other: Point) -> float:
        x, y = axes.transData.transform((other.x, other.y)).tolist()
        return float(max(box[0] - x, x - box[2], 0.0) + max(box[1] - y, y - box[3], 0.0))

    return any(distance(other) <= 1.2 * distance(point) for other in points if other is not point)


def _leads_over(axes: Axes, box: Box, point: Point, marks: Sequence[Box]) -> bool:
    """Whether the line from a mark to its label would cross another mark."""
    x, y = axes.transData.transform((point.x, point.y)).tolist()
    end_x, end_y = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
    steps = [step / 8 for step in range(9)]
    places = [(x + step * (end_x - x), y + step * (end_y - y)) for step in steps]
    return any(left <= a <= right and low <= b <= high for a, b in places for left, low, right, high in marks)


def _common(one: Box, other: Box) -> float:
    """The area of two boxes' intersection."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
