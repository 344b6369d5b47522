"""Learning curves: the mean of a variant's runs as a line, each run faintly behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from statistics import mean
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import name_axes, name_ticks, new_axes, report_style, room_for_names, write_names
from hetconv.lab.report.palette import looks
from hetconv.lab.report.summary import Row
from hetconv.lab.results import Epoch, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS_A_LINE = 12
LOGARITHMIC_FROM = 20

Quantity = Callable[[Epoch], float]


def curves(rows: Sequence[Row], runs: Sequence[Run], of: Quantity, gid: str, name: str) -> Figure:
    """One quantity of every epoch; runs that failed or go on are drawn as far as they came.

    The axis is logarithmic where a quantity above 0 falls or rises more than twentyfold.
    """
    seen = looks(row.variant for row in rows)
    means = {row.variant: mean_curve(runs, row.variant, of) for row in rows}
    drawn = {variant: points for variant, points in means.items() if points}
    in_order = sorted(drawn, key=lambda variant: -drawn[variant][-1][1])
    with report_style():
        height, right = room_for_names(in_order)
        figure, axes = new_axes(height, left=0.5, right=right)
        for run in runs:
            look = seen[run.variant]
            points = [(epoch.epoch, of(epoch)) for epoch in run.epochs]
            gid_of_run = f"{gid}-run-{look.slot}-{run.seed}"
            axes.plot(*zip(*points, strict=True), color=look.colour, lw=0.8, alpha=0.35, gid=gid_of_run)
        marks = []
        for variant in in_order:
            look, points = seen[variant], drawn[variant]
            (line,) = axes.plot(
                *zip(*points, strict=True), color=look.colour, linewidth=1.8, marker=look.marker, markersize=4.5,
                markeredgewidth=0, markevery=max(1, len(points) // MARKS_A_LINE), gid=f"{gid}-mean-{look.slot}",
            )  # fmt: skip
            marks.append((variant, line))
        name_axes(axes, "epoch", name)
        values = [of(epoch) for run in runs for epoch in run.epochs if isfinite(of(epoch))]
        if min(values) > 0 and max(values) > LOGARITHMIC_FROM * min(values):
            axes.set_yscale("log")
        _count_epochs(axes, runs)
        write_names(axes, marks, [f"{gid}-label-{seen[variant].slot}" for variant in in_order])
    return figure


def mean_curve(runs: Sequence[Run], variant: str, of: Quantity) -> list[tuple[int, float]]:
    """(epoch, mean over the runs of a variant that reached it)"""
    by_epoch: dict[int, list[float]] = {}
    for epoch in (epoch for run in runs if run.variant == variant for epoch in run.epochs):
        if isfinite(of(epoch)):
            by_epoch.setdefault(epoch.epoch, []).append(of(epoch))
    return [(epoch, mean(by_epoch[epoch])) for epoch in sorted(by_epoch)]


def _count_epochs(axes: Axes, runs: Sequence[Run]) -> None:
    numbers = [epoch.epoch for run in runs for epoch in run.epochs]
    first, last = min(numbers), max(numbers)
    room = max(0.02 * (last - first), 0.2)
    axes.set_xlim(first - room, last + room)
    name_ticks(axes.xaxis, whole=True)
    name_ticks(axes.yaxis)
