from dataclasses import replace

import pytest

from hetconv.lab.report.result_table import further_table, result_table
from hetconv.lab.results import Results
from hetconv.records import Latency
from hetconv.table import Table

from .example import example


def headings(table: Table) -> list[str]:
    return [column.heading for column in table.columns]


def test_what_a_variant_is_chosen_by_comes_first() -> None:
    eager = tuple(replace(cost, eager=Latency(6.0, 5.0, 7.0, 50)) for cost in example().costs)
    table = result_table(replace(example(), costs=eager))
    assert headings(table)[:5] == [
        "Variant", "Accuracy", "Speed-up measured", "Time deployed", "Time in eager PyTorch",
    ]  # fmt: skip
    assert table.rows[1][:5] == ("het-p4", "98.1 ± 0.2", "1.90×", "1.49", "6.00")
    assert table.notes == (
        "Measured on AMD EPYC 9R14, cpu, 1 thread, float32, channels_last, batch 1; hetconv 0.1.0, torch 2.11.0, "
        "python 3.11.7.",
    )


def test_a_column_without_a_value_is_left_out() -> None:
    assert "Time in eager PyTorch" not in headings(result_table(example()))
    assert "Accuracy with test views" not in headings(further_table(example()))


@pytest.mark.parametrize("results", [replace(example(), runs=(), costs=()), example(seeds=(0,), variants=("dense",))])
def test_no_column_is_empty(results: Results) -> None:
    for table in (result_table(results), further_table(results)):
        assert [column.heading for column in table.columns[1:] if column.is_empty] == []


def test_the_difference_to_dense_has_an_interval() -> None:
    results = example(seeds=(0, 1, 2))
    mean = next(column for column in result_table(results).columns if column.heading == "To dense")
    interval = next(column for column in further_table(results).columns if column.heading == "To dense, interval")
    assert (mean.cells[0], interval.cells[0]) == ("–", "–")
    low, high = (float(end.replace("−", "-")) for end in interval.cells[1].split(" to "))
    assert low < float(mean.cells[1].replace("−", "-")) < high
