"""What the page's script needs to tell of a chart's marks: as JSON that is safe inside a script element."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import isfinite
from statistics import mean
from typing import Any

from hetconv.lab.report.palette import looks
from hetconv.lab.report.table import Row
from hetconv.lab.results import Epoch, Results


def chart_data(results: Results, rows: Sequence[Row]) -> Any:
    """Each variant's name and slot, and the mean curves, as [epoch, value] lists by chart and slot."""
    from markupsafe import Markup

    seen = looks(rows)
    found = {
        "variants": [{"slot": seen[row.variant].slot, "name": row.variant} for row in rows],
        "curves": {
            "curves-accuracy": _curves(results, rows, lambda epoch: 100 * epoch.accuracy),
            "curves-loss": _curves(results, rows, lambda epoch: epoch.train_loss),
        },
    }
    text = json.dumps(found, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _curves(results: Results, rows: Sequence[Row], of: Callable[[Epoch], float]) -> dict[int, list[list[float]]]:
    seen = looks(rows)
    return {seen[row.variant].slot: _mean_curve(results, row.variant, of) for row in rows}


def _mean_curve(results: Results, variant: str, of: Callable[[Epoch], float]) -> list[list[float]]:
    values: dict[int, list[float]] = {}
    for run in results.runs:
        for epoch in run.epochs if run.variant == variant else ():
            if isfinite(of(epoch)):
                values.setdefault(epoch.epoch, []).append(of(epoch))
    return [[epoch, round(mean(values[epoch]), 4)] for epoch in sorted(values)]
