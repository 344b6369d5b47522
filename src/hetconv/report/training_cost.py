"""Accuracy against what a network cost to get: all its training, that before pruning included."""

from __future__ import annotations

from statistics import mean

from hetconv.records import Results, Run
from hetconv.report.figures import Chart
from hetconv.report.numbers import accuracy_decimals, percent_text
from hetconv.report.table import Row, summarize


def accuracy_against_training(results: Results) -> Chart:
    """Mean accuracy against the multiply-adds of all training of one run."""
    from hetconv.report.scatter import Spot, scatter

    rows, decimals = summarize(results), accuracy_decimals(results.settings.test_images)
    spots, words = [], {}
    for row in rows:
        spent = training_macs(results, row)
        if row.accuracy is not None and spent is not None:
            x, accuracy = spent / 1e12, 100 * row.accuracy
            std = 0.0 if row.accuracy_std is None else 100 * row.accuracy_std
            spots.append(Spot(row.variant, x, (x, x), accuracy, std))
            words[row.variant] = f"{percent_text(row.accuracy, row.accuracy_std, decimals)} % for {x:.2f} T MACs"
    title = "Accuracy against training cost"
    if not spots:
        return Chart("accuracy-training", title, "", f"{title}: no run is finished.", None, "no run is finished")
    figure = scatter(rows, spots, "accuracy-training", "multiply-adds of all training, T")
    sentence = f"{title}: {'; '.join(f'{name} {text}' for name, text in words.items())}."
    return Chart("accuracy-training", title, "Up and to the left is better.", sentence, figure)


def training_macs(results: Results, row: Row) -> float | None:
    """Multiply-adds of all training of one variant, mean over finished runs; None if there is none."""
    runs = [run for run in results.runs if run.variant == row.variant and run.state == "done"]
    found = [spent for run in runs if (spent := _spent(results, run, row)) is not None]
    return mean(found) if found else None


def training_seconds(results: Results, variant: str) -> float | None:
    """Seconds of all training of one variant, mean over finished runs; None if there is none."""
    runs = [run for run in results.runs if run.variant == variant and run.state == "done"]
    spent = [
        run.compression.cost.seconds if run.compression is not None else sum(epoch.seconds for epoch in run.epochs)
        for run in runs
    ]
    return mean(spent) if spent else None


def _spent(results: Results, run: Run, row: Row) -> float | None:
    if run.compression is not None:
        return run.compression.cost.macs
    return None if row.macs is None else 3 * row.macs * results.settings.train_images * len(run.epochs)
