"""The results of a network as two tables, the same on a terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean

from hetconv.lab.report.numbers import accuracy_decimals, decimals_for, percent_text, ratio_text, scale_for
from hetconv.lab.report.summary import DENSE, Row, summarize
from hetconv.lab.report.wording import circumstances_text
from hetconv.lab.results import Results
from hetconv.lab.statistics import Spread, accuracies, paired_accuracy, spread
from hetconv.lab.statistics.runs import one_image, training_seconds
from hetconv.lab.statistics.signed import signed
from hetconv.records import Latency
from hetconv.table import NOTHING, Column, Table


def result_table(results: Results) -> Table:
    """One row a variant: what it is chosen by."""
    rows = summarize(results)
    is_deployed = any(row.eager is not None for row in rows)
    columns = (
        _variants(rows),
        _accuracy("Accuracy", results, [(row.accuracy, row.accuracy_std) for row in rows]),
        Column("Speed-up measured", tuple(ratio_text(row.speedup_measured) for row in rows)),
        _numbers("Time deployed" if is_deployed else "Time", "ms", _medians(row.latency for row in rows)),
        _numbers("Time in eager PyTorch", "ms", _medians(row.eager for row in rows)),
        Column(
            "To dense", tuple(NOTHING if one is None else signed(one.mean) for one in _pairs(results, rows)), "points"
        ),
        _counts("MACs", [row.macs for row in rows]),
        _counts("Parameters", [row.params for row in rows]),
        Column("Runs done", tuple(f"{row.runs_done} of {row.runs_of}" for row in rows)),
    )
    note = f"Measured on {circumstances_text(results.circumstances)}."
    return Table(columns, (note,)).without_empty_columns()


def further_table(results: Results) -> Table:
    """One row a variant: what else was found."""
    rows = summarize(results)
    layers = (row.extra_layers for row in rows)
    columns = (
        _variants(rows),
        _accuracy("Accuracy with test views", results, [(row.views_accuracy, None) for row in rows]),
        Column("Accuracy, bootstrap interval", tuple(_bootstrap(results, row.variant) for row in rows), "%"),
        Column("To dense, interval", tuple(map(_interval, _pairs(results, rows))), "points"),
        Column("Time, p20–p80", tuple(_percentiles(rows)), "ms"),
        _numbers("Training", "s", [_mean(training_seconds(results, row.variant).values()) for row in rows]),
        Column("Speed-up by count", tuple(ratio_text(row.speedup_theory) for row in rows)),
        _counts("Paper’s FLOPs", [row.paper_flops for row in rows]),
        Column("Extra layers", tuple(NOTHING if count is None else str(count) for count in layers)),
    )
    return Table(columns).without_empty_columns()


def _variants(rows: Sequence[Row]) -> Column:
    return Column("Variant", tuple(row.variant for row in rows))


def _accuracy(heading: str, results: Results, found: Sequence[tuple[float | None, float | None]]) -> Column:
    decimals = accuracy_decimals(results.settings.test_images)
    return Column(heading, tuple(percent_text(*one, decimals) for one in found), "%")


def _numbers(heading: str, unit: str, values: Sequence[float | None]) -> Column:
    decimals = decimals_for(values)
    return Column(heading, tuple(NOTHING if value is None else f"{value:.{decimals}f}" for value in values), unit)


def _counts(heading: str, counts: Sequence[int | None]) -> Column:
    scale = scale_for(counts)
    return Column(heading, tuple(map(scale.text, counts)), scale.unit)


def _medians(times: Iterable[Latency | None]) -> list[float | None]:
    return [None if time is None else time.median_ms for time in times]


def _percentiles(rows: Sequence[Row]) -> Iterable[str]:
    times = [row.latency for row in rows]
    decimals = decimals_for(_medians(times))
    for time in times:
        yield NOTHING if time is None else f"{time.p20_ms:.{decimals}f}–{time.p80_ms:.{decimals}f}"


def _pairs(results: Results, rows: Sequence[Row]) -> Iterable[Spread | None]:
    """Of each variant, the differences to dense between runs from the same seed."""
    for row in rows:
        is_dense = row.variant == DENSE
        yield None if is_dense else spread(paired_accuracy(results, row.variant, DENSE), one_image(results))


def _interval(found: Spread | None) -> str:
    """The one that verdicts go by."""
    if found is None or found.low is None or found.high is None:
        return NOTHING
    return f"{signed(found.low)} to {signed(found.high)}"


def _bootstrap(results: Results, variant: str) -> str:
    found = spread(list(accuracies(results, variant).values()))
    ends = None if found is None else found.bootstrap
    return NOTHING if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return mean(found) if found else None
