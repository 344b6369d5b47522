"""Values of runs by seed. Only finished runs count; a pair is two runs from the same seed."""

from __future__ import annotations

from math import log

from hetconv.lab.results import Results


def accuracies(results: Results, variant: str) -> dict[int, float]:
    """Accuracy in % of each finished run of a variant."""
    return {
        run.seed: 100 * run.accuracy
        for run in results.runs
        if run.variant == variant and run.state == "done" and run.accuracy is not None
    }


def one_image(results: Results) -> float:
    """One image of the held-out split, in points: no scatter of accuracies is taken to be smaller."""
    return 100 / max(results.settings.test_images, 1)


def training_seconds(results: Results, variant: str) -> dict[int, float]:
    """Seconds that each finished run of a variant took; evaluation, and what compresses it, included."""
    return {
        run.seed: sum(epoch.seconds for epoch in run.epochs)
        if run.compression is None
        else run.compression.cost.seconds
        for run in results.runs
        if run.variant == variant and run.state == "done" and run.epochs
    }


def paired_accuracy(results: Results, variant: str, against: str) -> list[float]:
    """Accuracy minus that of the run of `against` from the same seed, in points."""
    ours, theirs = accuracies(results, variant), accuracies(results, against)
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def paired_cost(results: Results, variant: str, against: str) -> list[float]:
    """Logarithm of training time over that of the run of `against` from the same seed."""
    ours, theirs = training_seconds(results, variant), training_seconds(results, against)
    return [log(ours[seed] / theirs[seed]) for seed in sorted(ours.keys() & theirs.keys()) if ours[seed] > 0]
