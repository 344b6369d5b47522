import math
import random

import pytest

from hetconv.lab.statistics import Spread, seeds_needed, spread


def test_of_known_values() -> None:
    """Student's t interval of 1, 2, 3 is 2 ± 4.3027 / √3; no resample's mean leaves 1 … 3."""
    found = spread([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.mean, found.sd, found.count, found.bootstrap) == (2.0, 1.0, 3, (1.0, 3.0))
    assert found.low == pytest.approx(2 - 4.302652729911275 / math.sqrt(3), abs=1e-9)
    assert found.high == pytest.approx(2 + 4.302652729911275 / math.sqrt(3), abs=1e-9)


def test_few_values_say_little() -> None:
    assert spread([]) is None
    one = spread([5.0])
    assert one is not None
    assert (one.mean, one.sd, one.bootstrap, one.low, one.high) == (5.0, None, None, None, None)


def test_equal_values_are_no_proof_of_no_scatter() -> None:
    found = spread([1.0, 1.0], least_sd=0.5)
    assert found is not None
    assert (found.sd, found.bootstrap) == (0.0, (1.0, 1.0))
    assert found.low == pytest.approx(1 - 12.706204736432095 * 0.5 / math.sqrt(2), abs=1e-9)


def test_the_same_values_give_the_same_interval() -> None:
    values = [random.Random(3).gauss(0, 1) for _ in range(7)]
    assert spread(values) == spread(list(values))


def test_seeds_needed_is_the_least_number_that_decides() -> None:
    """Student's t at 17 and 16 degrees of freedom, over the roots of 18 and 17: 0.4973 and 0.5142."""
    assert 2.109815577833181 / math.sqrt(18) < 0.5 < 2.1199052992210112 / math.sqrt(17)
    assert seeds_needed(0.5, 1.0, 3) == 18
    assert seeds_needed(-0.5, 1.0, 30) == 30
    assert seeds_needed(1e-9, 1.0, 3) is None


def test_coverage_of_three_values() -> None:
    """The bootstrap alone would cover in about 3 of 4 cases; the interval that verdicts go by covers 19 of 20.

    400 draws: two standard errors of a share of 0.95 are 0.022.
    """
    draw = random.Random(0)
    covered = bootstrap = 0
    for _ in range(400):
        found = spread([draw.gauss(0, 1) for _ in range(3)]) or Spread(0, 0)
        assert None not in (found.low, found.high, found.bootstrap)
        covered += found.low <= 0 <= found.high  # type: ignore[operator]
        bootstrap += found.bootstrap[0] <= 0 <= found.bootstrap[1]  # type: ignore[index]
    assert covered / 400 > 0.95 - 0.022
    assert bootstrap / 400 < 0.85
