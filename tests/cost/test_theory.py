import pytest

from hetconv import HetPattern
from hetconv.cost import complexity, speedup_theory
from hetconv.errors import UsageError
from hetconv.nn import GroupwisePointwise


@pytest.mark.parametrize(
    ("layer", "options", "expected"),
    [
        ("dense", {}, 1.0),
        ("het", {"p": 1}, 1.0),
        ("het", {"p": 4}, 3.0),
        ("het", {"p": 8}, 4.5),
        ("het", {"p": 64}, 8.0),
        ("dwc-pwc", {}, 1 / (1 / 64 + 1 / 9)),
        ("gwc-pwc", {"groups": 4}, 1 / (1 / 4 + 1 / 9)),
    ],
)
def test_by_hand_for_64_channels(layer: str, options: dict[str, int], expected: float) -> None:
    assert speedup_theory(layer, 64, 64, **options) == pytest.approx(expected, rel=1e-12)


def test_het_agrees_with_the_pattern() -> None:
    for p in (1, 2, 4, 8):
        pattern = HetPattern(8, 24, 5, p)
        ratio = pattern.macs_per_position / HetPattern(8, 24, 5, 1).macs_per_position
        assert 1 / speedup_theory("het", 8, 24, kernel_size=5, p=p) == pytest.approx(ratio, rel=1e-12)


def test_gwc_agrees_with_the_block() -> None:
    block = GroupwisePointwise(8, 24, 3, padding=1, groups=4)
    ratio = complexity(block, (8, 6, 6)).macs / (36 * 8 * 24 * 9)
    assert 1 / speedup_theory("gwc-pwc", 8, 24, groups=4) == pytest.approx(ratio, rel=1e-12)


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("het", {}, "needs p"),
        ("het", {"p": 3}, "in_channels=8 must be divisible by p=3"),
        ("gwc-pwc", {"groups": 3}, "in_channels=8 must be divisible by groups=3"),
        ("het", {"p": 4, "kernel_size": -3}, "kernel_size=-3 must be a positive integer"),
        ("winograd", {}, "layer='winograd' must be dense, het, gwc-pwc or dwc-pwc"),
    ],
)
def test_wrong_arguments(layer: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        speedup_theory(layer, 8, 8, **options)
