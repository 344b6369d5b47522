"""A network in several runtimes, as a table for the terminal and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.numbers import NOTHING, decimals_for, ratio_text, scale_for
from hetconv.lab.report.wording import circumstances_text
from hetconv.lab.results import BenchEntry, BenchResults

DENSE = "dense"
HEADINGS = ("Runtime", "Variant", "Time, ms", "p20 to p80", "Times as fast", "First output, ms", "Memory, MB", "Error")


@dataclass(frozen=True)
class BenchRow:
    """One line of the table: its cells, or why there are none."""

    runtime: str
    variant: str
    cells: tuple[str, ...]
    remark: str
    reason: str | None


def bench_rows(results: BenchResults) -> tuple[BenchRow, ...]:
    """One row an entry; how many times as fast is against the dense network in the same runtime."""
    dense = {e.runtime: e.latency.median_ms for e in results.entries if e.variant == DENSE and e.latency is not None}
    digits = decimals_for(e.latency.median_ms for e in results.entries if e.latency is not None)
    return tuple(_row(entry, dense.get(entry.runtime), digits) for entry in results.entries)


def _row(entry: BenchEntry, dense_ms: float | None, digits: int) -> BenchRow:
    if entry.latency is None:
        return BenchRow(entry.runtime, entry.variant, (), entry.remark, entry.reason or "not measured")
    time = entry.latency
    ratio = None if dense_ms is None else dense_ms / time.median_ms
    cells = (
        f"{time.median_ms:.{digits}f}",
        f"{time.p20_ms:.{digits}f} to {time.p80_ms:.{digits}f}",
        ratio_text(ratio),
        NOTHING if entry.cold_start_ms is None else f"{entry.cold_start_ms:,.0f}",
        f"{entry.peak_bytes / 1e6:,.0f}" if entry.peak_bytes else NOTHING,
        NOTHING if entry.error is None else f"{entry.error:.0e}",
    )
    return BenchRow(entry.runtime, entry.variant, cells, entry.remark, None)


def bench_notes(results: BenchResults) -> tuple[str, ...]:
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


def print_bench(results: BenchResults, console: Console) -> None:
    """The table, then its notes."""
    results = cleaned(results)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, heading in enumerate((*HEADINGS, "How")):
        table.add_column(heading, justify="right" if 2 <= index < len(HEADINGS) else "left", overflow="fold")
    for row in bench_rows(results):
        if row.reason is None:
            table.add_row(*map(Text, (row.runtime, row.variant, *row.cells, row.remark)))
    console.print(table)
    missing = [row for row in bench_rows(results) if row.reason is not None]
    console.print(Text("Not measured:" if missing else "Not measured: none."), highlight=False)
    for row in missing:
        console.print(Text(f"  {row.runtime}, {row.variant}: {row.reason}"), highlight=False)
    for note in bench_notes(results):
        console.print(Text(note, style="dim"), highlight=False)


def bench_markdown(results: BenchResults) -> str:
    """The same as Markdown."""
    results = cleaned(results)
    head = (*HEADINGS, "How")
    lines = [_line(head), _line(["---", "---", *["---:"] * (len(HEADINGS) - 2), "---"])]
    for row in bench_rows(results):
        if row.reason is None:
            lines.append(_line((row.runtime, row.variant, *row.cells, row.remark)))
        else:
            lines.append(
                _line((row.runtime, row.variant, *[NOTHING] * (len(HEADINGS) - 2), f"not measured: {row.reason}"))
            )
    return "\n".join([*lines, "", *bench_notes(results), ""])


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
