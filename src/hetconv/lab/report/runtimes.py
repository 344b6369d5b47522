"""The picture of a network in several runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hetconv.errors import HetconvError
from hetconv.lab.report.axes import name_axes, new_axes, report_style
from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.numbers import decimals_for
from hetconv.lab.report.palette import GRID, INK, MUTED, SERIES
from hetconv.lab.report.picture import save_figure
from hetconv.lab.results import BenchResults

INCHES_PER_BAR = 0.22


def draw_bench(results: BenchResults, path: Path) -> None:
    """Draw one bar for each variant in each runtime, its median time, with p20 to p80.

    Raises:
        HetconvError: nothing was measured, or matplotlib is not installed.
    """
    results = cleaned(results)
    runtimes = list(dict.fromkeys(entry.runtime for entry in results.entries if entry.latency is not None))
    if not runtimes:
        raise HetconvError("nothing was measured: there is nothing to draw")
    times = {(e.runtime, e.variant): e.latency for e in results.entries if e.latency is not None}
    digits = decimals_for(latency.median_ms for latency in times.values())
    count = len(results.variants)
    with report_style():
        figure, axes = new_axes(0.75 + INCHES_PER_BAR * len(runtimes) * (count + 1), 1.2, 0.55, top=0.3)
        for slot, variant in enumerate(results.variants):
            colour = SERIES[slot % len(SERIES)][1]
            for row, runtime in enumerate(runtimes):
                found = times.get((runtime, variant))
                if found is None:
                    continue
                y = row + (slot - (count - 1) / 2) / (count + 1)
                axes.barh(
                    y,
                    found.median_ms,
                    0.85 / (count + 1),
                    color=colour,
                    label=variant if row == _first(times, variant, runtimes) else None,
                )
                axes.plot([found.p20_ms, found.p80_ms], [y, y], color=INK[1], linewidth=1)
                axes.annotate(
                    f"{found.median_ms:.{digits}f}", (max(found.median_ms, found.p80_ms), y), xytext=(4, 0),
                    textcoords="offset points", va="center", fontsize=8, color=MUTED[1],
                )  # fmt: skip
        axes.set_yticks(range(len(runtimes)), runtimes, color=INK[1], parse_math=False)
        axes.set_ylim(len(runtimes) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_color(GRID[1])
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        name_axes(axes, f"median time, batch {results.circumstances.batch_size}, ms", results.network)
        save_figure(figure, path)


def _first(times: Mapping[tuple[str, str], object], variant: str, runtimes: list[str]) -> int:
    """The first runtime in which a variant was measured: there it is named for the legend."""
    return next(row for row, runtime in enumerate(runtimes) if (runtime, variant) in times)
