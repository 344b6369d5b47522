"""Learning curves: the mean of a variant's runs as a line, each run faintly behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from statistics import mean
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import name_axes, name_ticks, new_axes, report_style
from hetconv.lab.report.palette import Look, looks, short_name
from hetconv.lab.report.table import Row
from hetconv.lab.results import Epoch, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_POINTS = 11.5
FEW_EPOCHS = 15
LOGARITHMIC_FROM = 20


def curves(rows: Sequence[Row], runs: Sequence[Run], of: Callable[[Epoch], float], gid: str, name: str) -> Figure:
    """One quantity of every epoch; runs that failed or go on are drawn as far as they came.

    The axis is logarithmic where a quantity above 0 falls or rises more than twentyfold.
    """
    seen = looks(rows)
    with report_style():
        figure, axes = new_axes(3.3, left=0.5, right=1.15)
        ends = []
        for row in rows:
            own = [run for run in runs if run.variant == row.variant and run.epochs]
            if not own:
                continue
            look = seen[row.variant]
            for run in own:
                _line(axes, run.epochs, of, look, f"{gid}-run-{look.slot}-{run.seed}")
            end = _mean_line(axes, own, of, look, f"{gid}-mean-{look.slot}")
            if end is not None:
                ends.append((*end, row.variant, look))
        name_axes(axes, "epoch", name)
        values = [of(epoch) for run in runs for epoch in run.epochs if isfinite(of(epoch))]
        if min(values) > 0 and max(values) > LOGARITHMIC_FROM * min(values):
            axes.set_yscale("log")
        _count_epochs(axes, runs)
        _write_ends(axes, ends, gid)
    return figure


def _line(axes: Axes, epochs: Sequence[Epoch], of: Callable[[Epoch], float], look: Look, gid: str) -> None:
    xs, ys = [epoch.epoch for epoch in epochs], [of(epoch) for epoch in epochs]
    axes.plot(xs, ys, color=look.colour, linewidth=0.8, alpha=0.35, gid=gid)


def _mean_line(
    axes: Axes, runs: Sequence[Run], of: Callable[[Epoch], float], look: Look, gid: str
) -> tuple[float, float] | None:
    """The mean over the runs that reached an epoch; returns where it ends."""
    by_epoch: dict[int, list[float]] = {}
    for epoch in (epoch for run in runs for epoch in run.epochs):
        if isfinite(of(epoch)):
            by_epoch.setdefault(epoch.epoch, []).append(of(epoch))
    if not by_epoch:
        return None
    xs = sorted(by_epoch)
    ys = [mean(by_epoch[x]) for x in xs]
    marks = {"marker": look.marker, "markersize": 4.0} if len(xs) <= FEW_EPOCHS else {}
    axes.plot(xs, ys, color=look.colour, linewidth=1.8, markeredgewidth=0, gid=gid, **marks)  # type: ignore[arg-type]
    return xs[-1], ys[-1]


def _count_epochs(axes: Axes, runs: Sequence[Run]) -> None:
    numbers = [epoch.epoch for run in runs for epoch in run.epochs]
    first, last = min(numbers), max(numbers)
    room = max(0.02 * (last - first), 0.2)
    axes.set_xlim(first - room, last + room)
    name_ticks(axes.xaxis, whole=True)
    name_ticks(axes.yaxis)


def _write_ends(axes: Axes, ends: Sequence[tuple[float, float, str, Look]], gid: str) -> None:
    """Names at the right edge, in the order of the lines' ends, moved apart where they would touch."""
    scale = axes.figure.dpi / 72
    in_order = sorted(ends, key=lambda end: end[1])
    heights = [float(axes.transData.transform((x, y))[1] / scale) for x, y, _, _ in in_order]
    low, high = axes.bbox.y0 / scale, axes.bbox.y1 / scale
    leader = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
    for (x, y, variant, look), height in zip(in_order, apart(heights, low, high), strict=True):
        axes.annotate(
            short_name(variant),
            (x, y),
            xytext=(axes.bbox.x1 / scale + 12, height),
            textcoords="figure points",
            va="center",
            parse_math=False,
            annotation_clip=False,
            gid=f"{gid}-label-{look.slot}",
            arrowprops=leader | {"color": look.colour},
        )


def apart(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Increasing heights, moved as little as needed to be a line apart and, where they fit, within low and high."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + LABEL_POINTS) if placed else max(height, low))
    ceiling = high
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - LABEL_POINTS
    return placed
