"""Speed-up against dense: what was measured beside what the count promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import name_axes, new_axes, report_style
from hetconv.lab.report.numbers import ratio_text
from hetconv.lab.report.palette import GRID, INK, MUTED, looks, short_name
from hetconv.lab.report.summary import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES_PER_ROW = 0.46


def speedups(rows: Sequence[Row], gid: str) -> Figure:
    """Two bars a variant: measured in its colour, by count as an outline below it."""
    seen = looks(row.variant for row in rows)
    with report_style():
        left = min(1.75, 0.25 + 0.085 * max(len(row.variant) for row in rows))
        figure, axes = new_axes(0.6 + INCHES_PER_ROW * len(rows), left, 0.2, top=0.1)
        for position, row in enumerate(rows):
            look = seen[row.variant]
            ids = f"{gid}-measured-{look.slot}", f"{gid}-theory-{look.slot}"
            _bar(axes, position - 0.19, row.speedup_measured, look.colour, look.colour, ids[0], " measured")
            _bar(axes, position + 0.19, row.speedup_theory, "none", look.colour, ids[1], " by count")
        axes.axvline(1, color=MUTED[1], linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
        names = [short_name(row.variant) for row in rows]
        axes.set_yticks(range(len(rows)), names, color=INK[1], parse_math=False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        known = [ratio for row in rows for ratio in (row.speedup_measured, row.speedup_theory) if ratio is not None]
        axes.set_xlim(0, 1.4 * max([1.0, *known]))
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_color(GRID[1])
        name_axes(axes, "times as fast as dense", "")
    return figure


def _bar(axes: Axes, y: float, ratio: float | None, fill: str, edge: str, gid: str, what: str) -> None:
    text = "not measured" if ratio is None else ratio_text(ratio) + what
    length = 0.0 if ratio is None else ratio
    bars = axes.barh(y, length, height=0.32, color=fill, edgecolor=edge, linewidth=1.0)
    bars.patches[0].set_gid(gid)
    axes.annotate(
        text, (max(length, 1.0), y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=MUTED[1]
    )
