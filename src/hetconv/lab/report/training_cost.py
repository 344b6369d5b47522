"""What a network cost to get: all its training, that before pruning included."""

from __future__ import annotations

from statistics import mean

from hetconv.lab.report.table import Row
from hetconv.lab.results import Results, Run


def training_macs(results: Results, row: Row) -> float | None:
    """Multiply-adds of all training of one variant, mean over finished runs; None if there is none."""
    runs = [run for run in results.runs if run.variant == row.variant and run.state == "done"]
    found = [spent for run in runs if (spent := _spent(results, run, row)) is not None]
    return mean(found) if found else None


def _spent(results: Results, run: Run, row: Row) -> float | None:
    if run.compression is not None:
        return run.compression.cost.macs
    return None if row.macs is None else 3 * row.macs * results.settings.train_images * len(run.epochs)
