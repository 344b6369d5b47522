"""Columns of what several seeds tell: intervals, differences to dense, time of training."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from hetconv.lab.report.cells import Column
from hetconv.lab.report.numbers import NOTHING, decimals_for
from hetconv.lab.report.table import DENSE, Row
from hetconv.lab.results import Results
from hetconv.lab.statistics import accuracies, paired_accuracy, spread
from hetconv.lab.statistics.runs import one_image, training_seconds
from hetconv.lab.statistics.signed import signed


def seed_columns(results: Results, rows: Sequence[Row]) -> tuple[Column, ...]:
    """Bootstrap interval of the accuracy, paired difference to dense, its interval, seconds of one training."""
    own = [spread(list(accuracies(results, row.variant).values())) for row in rows]
    pairs = [
        None if row.variant == DENSE else spread(paired_accuracy(results, row.variant, DENSE), one_image(results))
        for row in rows
    ]
    seconds = [list(training_seconds(results, row.variant).values()) for row in rows]
    means = tuple(mean(found) if found else None for found in seconds)
    decimals = decimals_for(means)
    return (
        Column(
            "bootstrap",
            "Bootstrap interval",
            "%",
            tuple(_interval(None if found is None else found.bootstrap) for found in own),
            tuple(None if found is None else found.mean for found in own),
        ),
        Column(
            "difference",
            "To dense",
            "points",
            tuple(NOTHING if found is None else signed(found.mean) for found in pairs),
            tuple(None if found is None else found.mean for found in pairs),
        ),
        Column(
            "difference_interval",
            "Its interval",
            "points",
            tuple(
                NOTHING if found is None or found.low is None or found.high is None
                else f"{signed(found.low)} to {signed(found.high)}"
                for found in pairs
            ),
            tuple(None if found is None else found.low for found in pairs),
        ),
        Column(
            "training",
            "Training",
            "s",
            tuple(NOTHING if value is None else f"{value:.{decimals}f}" for value in means),
            means,
        ),
    )  # fmt: skip


def _interval(ends: tuple[float, float] | None) -> str:
    return NOTHING if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"
