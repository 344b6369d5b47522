"""Comparing variants of a network: training, costing, keeping the results."""

from hetconv.study.compare import CompareProgress, Comparison, compare
from hetconv.study.store import Store

__all__ = ["CompareProgress", "Comparison", "Store", "compare"]
