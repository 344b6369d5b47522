"""How numbers are printed: one unit and one number of decimals for a whole column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hetconv.table import NOTHING


@dataclass(frozen=True)
class Scale:
    """A unit for counts: 313 740 000 is 313.74 in millions."""

    divisor: float
    unit: str
    decimals: int

    def text(self, count: float | None) -> str:
        if count is None:
            return NOTHING
        if 0 < count / self.divisor < 0.5 / 10**self.decimals:
            return f"<{1 / 10**self.decimals:.{self.decimals}f}"
        return f"{count / self.divisor:,.{self.decimals}f}"


def scale_for(counts: Iterable[int | None]) -> Scale:
    """The unit in which the largest of these counts has one to four digits before the point."""
    largest = max((count for count in counts if count is not None), default=0)
    for divisor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= divisor:
            return Scale(divisor, unit, 2 if largest < 1000 * divisor else 1)
    return Scale(1, "", 0)


def decimals_for(values: Iterable[float | None]) -> int:
    """Decimals that leave the smallest of these values three digits, at most three decimals."""
    smallest = min((value for value in values if value is not None and value > 0), default=1.0)
    return next((decimals for bound, decimals in ((100, 0), (10, 1), (1, 2)) if smallest >= bound), 3)


def accuracy_decimals(test_images: int) -> int:
    """Decimals of a percentage that the size of the held-out split can tell apart."""
    return 2 if test_images >= 5000 else 1


def percent_text(mean: float | None, std: float | None, decimals: int) -> str:
    """98.1 ± 0.4, without the sign: the unit stands in the heading or behind."""
    if mean is None:
        return NOTHING
    spread = "" if std is None else f" ± {100 * std:.{decimals}f}"
    return f"{100 * mean:.{decimals}f}{spread}"


def ratio_text(ratio: float | None, decimals: int = 2) -> str:
    return NOTHING if ratio is None else f"{ratio:.{decimals}f}×"


def size_text(size: tuple[int, ...]) -> str:
    """3×3; nothing for a layer without a spatial size."""
    return "×".join(map(str, size)) if size else NOTHING
