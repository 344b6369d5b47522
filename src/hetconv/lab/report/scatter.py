"""Accuracy against a cost: one mark a variant, with its spread; variants that differ by a number are joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import name_axes, name_ticks, new_axes, report_style, room_for_names, write_names
from hetconv.lab.report.palette import Look, looks
from hetconv.lab.report.summary import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOGARITHMIC_FROM = 5.0
FAR_BELOW, FAR_POINTS = 4.0, 3.0
"""A mark lies far below the others if its distance from the best is so many times that of the median, and so many
points at least."""


@dataclass(frozen=True)
class Spot:
    """One variant's place: x in the axis' unit with its spread, accuracy in % with its standard deviation."""

    variant: str
    x: float
    x_bar: tuple[float, float]
    accuracy: float
    std: float


def scatter(rows: Sequence[Row], spots: Sequence[Spot], gid: str, x_name: str) -> Figure:
    """Accuracy against cost; the cost axis is logarithmic where the costs differ by more than five times.

    Marks far below the others stand on the lower edge with their accuracy, so that they do not squeeze the rest.
    """
    from matplotlib.lines import Line2D

    seen = looks(row.variant for row in rows)
    floor = lowest_shown([spot.accuracy for spot in spots])
    with report_style():
        height, right = room_for_names([spot.variant for spot in spots])
        figure, axes = new_axes(height, left=0.5, right=right)
        _limit(axes, spots, floor)
        _join(axes, spots, seen)
        for spot in spots:
            _mark(axes, spot, seen[spot.variant], floor, gid)
        name_axes(axes, x_name, "Accuracy, %")
        in_order = sorted(spots, key=lambda spot: -spot.accuracy)
        keys = [(spot.variant, seen[spot.variant]) for spot in in_order]
        marks = [(name, Line2D([], [], ls="", marker=look.marker, color=look.colour, mew=0)) for name, look in keys]
        write_names(axes, marks, [f"{gid}-label-{look.slot}" for _, look in keys])
    return figure


def lowest_shown(accuracies: Sequence[float]) -> float:
    """What lies lower is too far below the others."""
    best = max(accuracies)
    return best - max(FAR_BELOW * (best - median(accuracies)), FAR_POINTS)


def _mark(axes: Axes, spot: Spot, look: Look, floor: float, gid: str) -> None:
    if spot.accuracy < floor:
        bottom = axes.get_ylim()[0]
        axes.plot(
            spot.x, bottom, look.marker, color=look.colour, ms=6.5, mew=0, clip_on=False, zorder=3,
            gid=f"{gid}-point-{look.slot}",
        )  # fmt: skip
        axes.annotate(
            f"↓ {spot.accuracy:.1f}", (spot.x, bottom), xytext=(0, 7), textcoords="offset points", ha="center",
            fontsize=8, color=look.colour, gid=f"{gid}-label-{look.slot}-value",
        )  # fmt: skip
        return
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


def _join(axes: Axes, spots: Sequence[Spot], seen: dict[str, Look]) -> None:
    """A faint line through variants that differ by a number only, such as het-p4 and het-p8, by their cost."""
    by_family: dict[str, list[Spot]] = {}
    for spot in sorted(spots, key=lambda spot: spot.x):
        by_family.setdefault(re.sub(r"\d+", "", spot.variant), []).append(spot)
    for own in by_family.values():
        xs, ys = [spot.x for spot in own], [spot.accuracy for spot in own]
        axes.plot(xs, ys, color=seen[own[0].variant].colour, linewidth=0.8, alpha=0.35)


def _limit(axes: Axes, spots: Sequence[Spot], floor: float) -> None:
    """Limits with room around the marks; a linear cost axis starts at 0."""
    low, high = min(spot.x_bar[0] for spot in spots), max(spot.x_bar[1] for spot in spots)
    if low > 0 and high / low > LOGARITHMIC_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.3, high * 1.3)
    else:
        axes.set_xlim(0, high * 1.1)
    near = [spot for spot in spots if spot.accuracy >= floor]
    bottom, top = min(spot.accuracy - spot.std for spot in near), max(spot.accuracy + spot.std for spot in near)
    room = max(0.12 * (top - bottom), 0.3)
    axes.set_ylim(bottom - room, top + room)
    name_ticks(axes.xaxis)
    name_ticks(axes.yaxis)
