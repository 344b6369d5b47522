from dataclasses import replace

import pytest

from hetconv.lab.report.summary import dense_row, summarize
from hetconv.lab.results import Run
from hetconv.records import Latency

from .example import cost, example, run


def with_accuracies(variant: str, *accuracies: float) -> tuple[Run, ...]:
    whole = run(variant, 0, epochs=2)
    last = whole.epochs[-1]
    return tuple(
        replace(whole, seed=seed, epochs=(whole.epochs[0], replace(last, accuracy=accuracy)))
        for seed, accuracy in enumerate(accuracies)
    )


def timed(variant: str, median_ms: float, theory: float, samples: int = 50):
    return replace(
        cost(variant), latency=Latency(median_ms, median_ms - 1, median_ms + 1, samples), speedup_theory=theory
    )


def test_mean_and_sample_deviation_of_the_last_epoch() -> None:
    results = replace(
        example(seeds=(0, 1, 2), variants=("dense",)), runs=with_accuracies("dense", 0.9, 0.92, 0.97), costs=()
    )
    (row,) = summarize(results)
    assert row.accuracy == pytest.approx(0.93)
    assert row.accuracy_std == pytest.approx(0.0360555127546)  # √((0.03² + 0.01² + 0.04²) / 2)
    assert (row.runs_done, row.runs_of) == (3, 3)


def test_only_finished_runs_count() -> None:
    done, running, failed = with_accuracies("dense", 0.9, 0.1, 0.2)
    runs = (done, replace(running, state="running"), replace(failed, state="failed"))
    (row,) = summarize(replace(example(seeds=(0, 1, 2, 3), variants=("dense",)), runs=runs))
    assert (row.accuracy, row.accuracy_std) == (0.9, None)
    assert (row.runs_done, row.runs_of) == (1, 4)


def test_speedup_is_the_ratio_of_medians() -> None:
    costs = (timed("het-p4", 4.0, 2.6), timed("dense", 10.0, 1.0))
    rows = summarize(replace(example(variants=("het-p4", "dense")), costs=costs))
    assert [row.variant for row in rows] == ["dense", "het-p4"]
    assert [row.speedup_measured for row in rows] == [1.0, 2.5]
    assert [row.speedup_theory for row in rows] == [1.0, 2.6]
    assert rows[1].macs == costs[0].complexity.macs
    assert rows[1].extra_layers == 0


@pytest.mark.parametrize("spoilt", [{"samples": 0}, {"median_ms": float("nan")}, {"median_ms": 0.0}])
def test_a_time_that_was_not_measured_is_none(spoilt: dict[str, float]) -> None:
    slow = timed("het-p4", 4.0, 2.6)
    slow = replace(slow, latency=replace(slow.latency, **spoilt))
    rows = summarize(replace(example(variants=("dense", "het-p4")), costs=(timed("dense", 10.0, 1.0), slow)))
    assert rows[1].latency is None
    assert rows[1].speedup_measured is None
    assert rows[1].speedup_theory == 2.6


def test_without_dense_there_is_no_measured_speedup() -> None:
    rows = summarize(example(variants=("het-p4", "het-p8")))
    assert dense_row(rows) is None
    assert {row.speedup_measured for row in rows} == {None}


def test_a_variant_that_nobody_asked_for_is_listed() -> None:
    results = example(variants=("dense",))
    rows = summarize(replace(results, runs=(*results.runs, run("het-p4", 7))))
    assert [row.variant for row in rows] == ["dense", "het-p4"]
    assert (rows[1].runs_done, rows[1].runs_of) == (1, 1)


def test_times_are_of_the_deployed_network_and_of_the_eager_one() -> None:
    eager = Latency(6.0, 5.0, 7.0, 50)
    costs = (timed("dense", 10.0, 1.0), replace(timed("het-p4", 4.0, 2.6), eager=eager))
    rows = summarize(replace(example(variants=("dense", "het-p4")), costs=costs))
    assert [row.latency and row.latency.median_ms for row in rows] == [10.0, 4.0]
    assert [row.eager for row in rows] == [None, eager]


def test_accuracy_on_views_is_the_mean_of_finished_runs() -> None:
    done = with_accuracies("dense", 0.9, 0.8)
    seen = tuple(
        replace(one, epochs=(*one.epochs[:-1], replace(one.epochs[-1], views_accuracy=views)))
        for one, views in zip(done, (0.92, 0.84), strict=True)
    )
    (row,) = summarize(replace(example(seeds=(0, 1), variants=("dense",)), runs=seen))
    assert row.views_accuracy == pytest.approx(0.88)
    (row,) = summarize(replace(example(seeds=(0, 1), variants=("dense",)), runs=done))
    assert row.views_accuracy is None
