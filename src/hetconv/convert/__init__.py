"""Swapping the convolutions of any model, by module and without tracing, and saying what was and was not swapped."""

from hetconv.convert.conversion import convert_, convertible, swap_
from hetconv.convert.conversion_report import ConversionReport, Converted, Skipped

__all__ = ["ConversionReport", "Converted", "Skipped", "convert_", "convertible", "swap_"]
