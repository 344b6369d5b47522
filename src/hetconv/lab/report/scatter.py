"""Accuracy against a cost: one mark a variant, with its spread, named where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import name_axes, name_ticks, new_axes, report_style
from hetconv.lab.report.labels import Point, write_labels
from hetconv.lab.report.palette import looks, short_name
from hetconv.lab.report.table import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOGARITHMIC_FROM = 5.0


@dataclass(frozen=True)
class Spot:
    """One variant's place: x in the axis' unit with its spread, accuracy in % with its standard deviation."""

    variant: str
    x: float
    x_bar: tuple[float, float]
    accuracy: float
    std: float

    @property
    def accuracy_bar(self) -> tuple[float, float]:
        """One standard deviation down and up."""
        return self.accuracy - self.std, self.accuracy + self.std


def scatter(rows: Sequence[Row], spots: Sequence[Spot], gid: str, x_name: str) -> Figure:
    """Accuracy against cost; the cost axis is logarithmic where the costs differ by more than five times."""
    seen = looks(rows)
    with report_style():
        figure, axes = new_axes(3.3, left=0.5, right=0.15)
        for spot in spots:
            look = seen[spot.variant]
            lines = axes.errorbar(
                spot.x,
                spot.accuracy,
                xerr=[[spot.x - spot.x_bar[0]], [spot.x_bar[1] - spot.x]],
                yerr=spot.std,
                fmt=look.marker,
                color=look.colour,
                markersize=6.5,
                elinewidth=1.2,
                markeredgewidth=0,
            )
            lines.lines[0].set_gid(f"{gid}-point-{look.slot}")
            for number, bar in enumerate(lines.lines[2]):
                bar.set_gid(f"{gid}-bar-{look.slot}-{number}")
        name_axes(axes, x_name, "Accuracy, %")
        _limit(axes, spots)
        points = [
            Point(
                short_name(spot.variant),
                seen[spot.variant].colour,
                spot.x,
                spot.accuracy,
                spot.x_bar,
                (spot.accuracy - spot.std, spot.accuracy + spot.std),
            )
            for spot in spots
        ]
        write_labels(axes, points, gid, [seen[spot.variant].slot for spot in spots])
    return figure


def _limit(axes: Axes, spots: Sequence[Spot]) -> None:
    """Limits with room for the labels; a linear cost axis starts at 0."""
    low, high = min(spot.x_bar[0] for spot in spots), max(spot.x_bar[1] for spot in spots)
    if low > 0 and high / low > LOGARITHMIC_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 1.6)
    else:
        axes.set_xlim(0, high * 1.18)
    bottom = min(spot.accuracy_bar[0] for spot in spots)
    top = max(spot.accuracy_bar[1] for spot in spots)
    room = max(0.15 * (top - bottom), 0.3)
    axes.set_ylim(bottom - room, top + room)
    name_ticks(axes.xaxis)
    name_ticks(axes.yaxis)
