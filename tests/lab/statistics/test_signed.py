import pytest

from hetconv.lab.statistics.signed import signed


@pytest.mark.parametrize(
    ("value", "text"), [(0.444, "+0.44"), (-1.606, "−1.61"), (0.0, "0.00"), (-0.004, "0.00"), (0.004, "0.00")]
)
def test_a_difference_has_its_sign_and_nothing_has_none(value: float, text: str) -> None:
    assert signed(value) == text
