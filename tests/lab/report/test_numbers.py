import pytest

from hetconv.lab.report.numbers import accuracy_decimals, decimals_for, percent_text, ratio_text, scale_for, size_text


@pytest.mark.parametrize(
    ("count", "text", "unit"),
    [
        (313_740_000, "313.74", "M"),
        (4_090_000_000, "4.09", "G"),
        (1_000, "1.00", "k"),
        (999, "999", ""),
        (0, "0", ""),
        (None, "–", ""),
    ],
)
def test_counts_have_a_unit(count: int | None, text: str, unit: str) -> None:
    scale = scale_for([count])
    assert (scale.text(count), scale.unit) == (text, unit)


def test_a_column_has_one_unit_and_nothing_is_rounded_to_zero() -> None:
    scale = scale_for([313_740_000, 5_130, None])
    assert [scale.text(count) for count in (313_740_000, 5_130, 0, None)] == ["313.74", "0.01", "0.00", "–"]
    assert scale.text(1_280) == "<0.01"


@pytest.mark.parametrize(("values", "decimals"), [([345.0], 0), ([98.0, 12.5], 1), ([2.84], 2), ([0.02], 3), ([], 2)])
def test_decimals_leave_three_digits(values: list[float], decimals: int) -> None:
    assert decimals_for(values) == decimals


def test_percentages() -> None:
    assert percent_text(0.98123, 0.00412, 1) == "98.1 ± 0.4"
    assert percent_text(0.93926, None, 2) == "93.93"
    assert percent_text(None, None, 2) == "–"
    assert (accuracy_decimals(360), accuracy_decimals(10_000)) == (1, 2)


def test_ratios_and_sizes() -> None:
    assert (ratio_text(1.899), ratio_text(None)) == ("1.90×", "–")
    assert (size_text((3, 3)), size_text(())) == ("3×3", "–")
