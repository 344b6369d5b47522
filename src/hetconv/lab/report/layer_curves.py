"""One line a layer: the lowest in colours and named at their ends, the others faintly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import name_axes, name_ticks, new_axes
from hetconv.lab.report.curves import apart
from hetconv.lab.report.palette import MARKS, MUTED, SERIES, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """One layer's accuracies in %, by what was done to it: (x, y) with x increasing, the unchanged network first."""

    layer: str
    points: tuple[tuple[float, float], ...]

    @property
    def mean(self) -> float:
        return mean(y for _, y in self.points)


def layer_curves(curves: Sequence[Curve], x_name: str, gid: str, named: int, *, doubling: bool) -> Figure:
    """Accuracy of the whole network against what was done to one layer, within `report_style`.

    Args:
        named: how many of the curves are in colours, those lowest on average.
        doubling: whether the x axis doubles at each step, as P does.
    """
    figure, axes = new_axes(3.3, left=0.5, right=1.25)
    order = sorted(range(len(curves)), key=lambda index: curves[index].mean)
    chosen = sorted(order[:named])
    for index, curve in enumerate(curves):
        if index not in chosen:
            axes.plot(*zip(*curve.points, strict=True), color=MUTED[1], linewidth=0.8, alpha=0.45, gid=f"{gid}-{index}")
    ends = []
    for place, index in enumerate(chosen):
        colour, (mark, _) = SERIES[1 + place % (len(SERIES) - 1)][1], MARKS[place % len(MARKS)]
        curve = curves[index]
        axes.plot(
            *zip(*curve.points, strict=True), color=colour, linewidth=1.8, marker=mark, markersize=4.5,
            markeredgewidth=0, gid=f"{gid}-{index}",
        )  # fmt: skip
        ends.append((*curve.points[-1], curve.layer, colour))
    name_axes(axes, x_name, "Accuracy, %")
    if doubling:
        _double(axes, sorted({x for curve in curves for x, _ in curve.points}))
    else:
        name_ticks(axes.xaxis)
    name_ticks(axes.yaxis)
    _name(axes, ends)
    return figure


def _double(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xticks(list(values), [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())


def _name(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the right edge, in the order of the lines' ends."""
    scale = axes.figure.dpi / 72
    in_order = sorted(ends, key=lambda end: end[1])
    heights = [float(axes.transData.transform((x, y))[1] / scale) for x, y, _, _ in in_order]
    leader = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
    placed = apart(heights, axes.bbox.y0 / scale, axes.bbox.y1 / scale)
    for (x, y, layer, colour), height in zip(in_order, placed, strict=True):
        axes.annotate(
            short_name(layer), (x, y), xytext=(axes.bbox.x1 / scale + 12, height), textcoords="figure points",
            va="center", parse_math=False, annotation_clip=False, arrowprops=leader | {"color": colour},
        )  # fmt: skip
