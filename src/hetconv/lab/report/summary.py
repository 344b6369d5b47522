"""What a study found, one row a variant: pure data that the terminal and the page both show."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev

from hetconv.lab.results import Results, Run, VariantCost
from hetconv.records import Latency

DENSE = "dense"


@dataclass(frozen=True)
class Row:
    """One variant: what is not known is None, never 0.

    `accuracy` is the mean over finished runs, as a fraction of 1; `accuracy_std` their sample standard deviation,
    which takes two runs; `views_accuracy` is the mean over those that were evaluated on several views of each image.
    `latency` is of the network as it is deployed, `eager` of the same in eager PyTorch. Speed-ups are against the dense
    network: of median times, and of MACs.
    """

    variant: str
    accuracy: float | None
    accuracy_std: float | None
    views_accuracy: float | None
    runs_done: int
    runs_of: int
    macs: int | None
    params: int | None
    paper_flops: int | None
    extra_layers: int | None
    latency: Latency | None
    eager: Latency | None
    speedup_measured: float | None
    speedup_theory: float | None


def summarize(results: Results) -> tuple[Row, ...]:
    """One row for every variant that was asked for or found, dense first; only finished runs count."""
    costs = {cost.variant: cost for cost in results.costs}
    dense = _latency(costs.get(DENSE))
    return tuple(_row(results, variant, costs.get(variant), dense) for variant in _variants(results))


def dense_row(rows: tuple[Row, ...]) -> Row | None:
    """The row that the others are compared with."""
    return next((row for row in rows if row.variant == DENSE), None)


def _variants(results: Results) -> list[str]:
    found = [run.variant for run in results.runs] + [cost.variant for cost in results.costs]
    names = dict.fromkeys([*results.settings.variants, *found])
    return sorted(names, key=lambda name: name != DENSE)


def _row(results: Results, variant: str, cost: VariantCost | None, dense: Latency | None) -> Row:
    runs = [run for run in results.runs if run.variant == variant]
    accuracies = _accuracies(runs)
    last = [run.epochs[-1].views_accuracy for run in runs if run.state == "done" and run.epochs]
    views = [accuracy for accuracy in last if accuracy is not None]
    asked = len(results.settings.seeds) if variant in results.settings.variants else 0
    latency = _latency(cost)
    complexity = cost.complexity if cost is not None else None
    return Row(
        variant=variant,
        accuracy=mean(accuracies) if accuracies else None,
        accuracy_std=stdev(accuracies) if len(accuracies) > 1 else None,
        views_accuracy=mean(views) if views else None,
        runs_done=len(accuracies),
        runs_of=max(asked, len(runs)),
        macs=complexity.macs if complexity is not None else None,
        params=complexity.params if complexity is not None else None,
        paper_flops=complexity.paper_flops if complexity is not None else None,
        extra_layers=complexity.extra_layers if complexity is not None else None,
        latency=latency,
        eager=cost.eager if cost is not None else None,
        speedup_measured=dense.median_ms / latency.median_ms if dense is not None and latency is not None else None,
        speedup_theory=cost.speedup_theory if cost is not None else None,
    )


def _accuracies(runs: list[Run]) -> list[float]:
    finished = [run.accuracy for run in runs if run.state == "done"]
    return [accuracy for accuracy in finished if accuracy is not None]


def _latency(cost: VariantCost | None) -> Latency | None:
    """The time of a variant, None where it was not measured: no record, or one of no samples."""
    if cost is None or cost.latency.samples < 1 or not cost.latency.median_ms > 0:
        return None
    return cost.latency


def training_macs(results: Results, row: Row) -> float | None:
    """Multiply-adds of all training of one variant, that before pruning included, mean over finished runs."""
    runs = [run for run in results.runs if run.variant == row.variant and run.state == "done"]
    found = [spent for run in runs if (spent := _spent(results, run, row)) is not None]
    return mean(found) if found else None


def _spent(results: Results, run: Run, row: Row) -> float | None:
    if run.compression is not None:
        return run.compression.cost.macs
    return None if row.macs is None else 3 * row.macs * results.settings.train_images * len(run.epochs)
