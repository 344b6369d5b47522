"""One line a layer: the lowest in colours and named, the others faintly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import name_axes, name_ticks, new_axes, room_for_names, write_names
from hetconv.lab.report.palette import MARKS, MUTED, SERIES

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
    order = sorted(range(len(curves)), key=lambda index: curves[index].mean)
    chosen = sorted(order[:named], key=lambda index: -curves[index].points[-1][1])
    height, right = room_for_names([curves[index].layer for index in chosen])
    figure, axes = new_axes(height, left=0.5, right=right)
    for index in order[named:]:
        points = curves[index].points
        axes.plot(*zip(*points, strict=True), color=MUTED[1], linewidth=0.8, alpha=0.45, gid=f"{gid}-{index}")
    marks = []
    for place, index in enumerate(chosen):
        colour, (mark, _) = SERIES[1 + place % (len(SERIES) - 1)][1], MARKS[place % len(MARKS)]
        (line,) = axes.plot(
            *zip(*curves[index].points, strict=True), color=colour, linewidth=1.8, marker=mark, markersize=4.5,
            markeredgewidth=0, gid=f"{gid}-{index}",
        )  # fmt: skip
        marks.append((curves[index].layer, line))
    name_axes(axes, x_name, "Accuracy, %")
    if doubling:
        _double(axes, sorted({x for curve in curves for x, _ in curve.points}))
    else:
        name_ticks(axes.xaxis)
    name_ticks(axes.yaxis)
    write_names(axes, marks, [f"{gid}-label-{index}" for index in chosen])
    return figure


def _double(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xticks(list(values), [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
