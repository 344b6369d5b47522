"""A trained network made faster: P for each layer under a measured budget, and its accuracy brought back."""

from hetconv.adaptation.refit import refit_
from hetconv.adaptation.refit_report import RefitLayer, RefitReport

__all__ = ["RefitLayer", "RefitReport", "refit_"]
