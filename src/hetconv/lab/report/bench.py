"""A network in several runtimes, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

from hetconv.errors import HetconvError
from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.numbers import decimals_for, ratio_text, scale_for
from hetconv.lab.report.palette import GRID, INK, MUTED, looks
from hetconv.lab.report.wording import circumstances_text
from hetconv.lab.results import BenchEntry, BenchResults
from hetconv.table import NOTHING, Table

DENSE = "dense"
HEADINGS = (
    "Runtime", "Variant", "Time, ms", "p20 to p80, ms", "Times as fast", "First output, ms", "Memory, MB", "Error",
    "How",
)  # fmt: skip
INCHES_PER_BAR = 0.22


def bench_table(results: BenchResults) -> Table:
    """One row for each network that was measured; how many times as fast is against dense in the same runtime."""
    results = cleaned(results)
    dense = {e.runtime: e.latency.median_ms for e in results.entries if e.variant == DENSE and e.latency is not None}
    digits = decimals_for(e.latency.median_ms for e in results.entries if e.latency is not None)
    rows = [_row(entry, dense.get(entry.runtime), digits) for entry in results.entries if entry.latency is not None]
    missing = [e for e in results.entries if e.latency is None]
    notes = [f"Not measured: {e.runtime}, {e.variant}: {e.reason or 'no reason was recorded'}." for e in missing]
    return Table.of_rows(HEADINGS, rows, (*(notes or ["Not measured: none."]), *_notes(results)))


def _row(entry: BenchEntry, dense_ms: float | None, digits: int) -> tuple[str, ...]:
    time = entry.latency
    assert time is not None
    return (
        entry.runtime,
        entry.variant,
        f"{time.median_ms:.{digits}f}",
        f"{time.p20_ms:.{digits}f} to {time.p80_ms:.{digits}f}",
        ratio_text(None if dense_ms is None else dense_ms / time.median_ms),
        NOTHING if entry.cold_start_ms is None else f"{entry.cold_start_ms:,.0f}",
        f"{entry.peak_bytes / 1e6:,.0f}" if entry.peak_bytes else NOTHING,
        NOTHING if entry.error is None else f"{entry.error:.0e}",
        entry.remark,
    )


def _notes(results: BenchResults) -> tuple[str, ...]:
    """What the figures are: one sentence each."""
    scale = scale_for(results.macs.values())
    macs = ", ".join(f"{variant} {scale.text(count)} {scale.unit}".rstrip() for variant, count in results.macs.items())
    fastest = min((e for e in results.entries if e.latency is not None), key=_median, default=None)
    found = "" if fastest is None else f" Fastest: {fastest.variant} in {fastest.runtime}."
    size = "×".join(map(str, results.input_size))
    return (
        f"{results.network}, input {size}; multiply-adds of one image: {macs}.{found}",
        "Times are medians of interleaved rounds; times as fast is over dense in the same runtime; first output is "
        "from starting a fresh process, memory the most it had held by then; error is relative, of root mean squares.",
        f"Measured on {circumstances_text(results.circumstances)}.",
    )


def _median(entry: BenchEntry) -> float:
    assert entry.latency is not None
    return entry.latency.median_ms


def draw_bench(results: BenchResults, path: Path) -> None:
    """Draw one bar for each variant in each runtime, its median time, with p20 to p80.

    Raises:
        HetconvError: nothing was measured, or matplotlib is not installed.
    """
    from hetconv.lab.report.axes import name_axes, new_axes, report_style, save_figure

    results = cleaned(results)
    measured = [(entry, entry.latency) for entry in results.entries if entry.latency is not None]
    if not measured:
        raise HetconvError("nothing was measured: there is nothing to draw")
    runtimes = list(dict.fromkeys(entry.runtime for entry, _ in measured))
    seen, digits = looks(results.variants), decimals_for(time.median_ms for _, time in measured)
    of = len(results.variants) + 1
    with report_style():
        left, right = (max(map(len, names)) for names in (runtimes, results.variants))
        height = 0.75 + INCHES_PER_BAR * len(runtimes) * of
        figure, axes = new_axes(height, 0.2 + 0.075 * left, 0.6 + 0.07 * right, top=0.3)
        for entry, time in measured:
            y = runtimes.index(entry.runtime) + (results.variants.index(entry.variant) - of / 2 + 1) / of
            axes.barh(y, time.median_ms, 0.85 / of, color=seen[entry.variant].colour)
            axes.plot([time.p20_ms, time.p80_ms], [y, y], color=INK[1], linewidth=1)
            axes.annotate(
                f"{time.median_ms:.{digits}f} {entry.variant}", (max(time.median_ms, time.p80_ms), y), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8, color=MUTED[1], parse_math=False,
            )  # fmt: skip
        axes.set_yticks(range(len(runtimes)), runtimes, color=INK[1], parse_math=False)
        axes.set_ylim(len(runtimes) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_color(GRID[1])
        name_axes(axes, f"median time, batch {results.circumstances.batch_size}, ms", results.network)
        save_figure(figure, path)
