"""The columns of the result table as text, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hetconv.lab.report.numbers import NOTHING, accuracy_decimals, decimals_for, percent_text, ratio_text, scale_for
from hetconv.lab.report.table import Row
from hetconv.records import Latency


@dataclass(frozen=True)
class Column:
    """One column: `cells` are what is read, `values` what is sorted by; both have one entry a row."""

    key: str
    title: str
    unit: str
    cells: tuple[str, ...]
    values: tuple[float | None, ...]


def columns(rows: Sequence[Row], test_images: int) -> tuple[Column, ...]:
    """The columns of the table but the variant's name; those without a value in any row are left out."""
    every = (
        _accuracy(rows, test_images),
        _ratios("speedup_measured", "Speed-up measured", [row.speedup_measured for row in rows]),
        *_latency(rows),
        _eager(rows),
        _views(rows, test_images),
        Column(
            "runs",
            "Runs done",
            "",
            tuple(f"{row.runs_done} of {row.runs_of}" for row in rows),
            tuple(float(row.runs_done) for row in rows),
        ),
        _counts("macs", "MACs", [row.macs for row in rows]),
        _counts("params", "Parameters", [row.params for row in rows]),
        _counts("paper_flops", "Paper’s FLOPs", [row.paper_flops for row in rows]),
        Column(
            "extra_layers",
            "Extra layers",
            "",
            tuple(NOTHING if row.extra_layers is None else str(row.extra_layers) for row in rows),
            tuple(row.extra_layers for row in rows),
        ),
        _ratios("speedup_theory", "Speed-up by count", [row.speedup_theory for row in rows]),
    )
    return tuple(column for column in every if any(value is not None for value in column.values))


def _accuracy(rows: Sequence[Row], test_images: int) -> Column:
    decimals = accuracy_decimals(test_images)
    texts = tuple(percent_text(row.accuracy, row.accuracy_std, decimals) for row in rows)
    return Column("accuracy", "Accuracy", "%", texts, tuple(row.accuracy for row in rows))


def _views(rows: Sequence[Row], test_images: int) -> Column:
    decimals = accuracy_decimals(test_images)
    texts = tuple(percent_text(row.views_accuracy, None, decimals) for row in rows)
    return Column("views_accuracy", "With test views", "%", texts, tuple(row.views_accuracy for row in rows))


def _eager(rows: Sequence[Row]) -> Column:
    medians = tuple(None if row.eager is None else row.eager.median_ms for row in rows)
    decimals = decimals_for(medians)
    texts = tuple(NOTHING if median is None else f"{median:.{decimals}f}" for median in medians)
    return Column("eager", "Time in eager PyTorch", "ms", texts, medians)


def _counts(key: str, title: str, counts: Sequence[int | None]) -> Column:
    scale = scale_for(counts)
    return Column(key, title, scale.unit, tuple(scale.text(count) for count in counts), tuple(counts))


def _latency(rows: Sequence[Row]) -> tuple[Column, Column]:
    latencies = [row.latency for row in rows]
    medians = tuple(latency.median_ms if latency is not None else None for latency in latencies)
    decimals = decimals_for(medians)
    texts = tuple(NOTHING if median is None else f"{median:.{decimals}f}" for median in medians)
    spreads = tuple(_spread(latency, decimals) for latency in latencies)
    return Column("latency", "Time", "ms", texts, medians), Column("spread", "p20–p80", "ms", spreads, medians)


def _spread(latency: Latency | None, decimals: int) -> str:
    return NOTHING if latency is None else f"{latency.p20_ms:.{decimals}f}–{latency.p80_ms:.{decimals}f}"


def _ratios(key: str, title: str, ratios: Sequence[float | None]) -> Column:
    return Column(key, title, "", tuple(ratio_text(ratio) for ratio in ratios), tuple(ratios))
