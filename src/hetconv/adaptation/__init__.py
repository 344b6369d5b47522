"""A trained network made faster: P for each layer under a measured budget, and its accuracy brought back."""

from hetconv.adaptation.distilling import DistillationReport, distill_
from hetconv.adaptation.plan import Plan
from hetconv.adaptation.planning import plan
from hetconv.adaptation.refit import refit_
from hetconv.adaptation.refit_report import RefitLayer, RefitReport

__all__ = ["DistillationReport", "Plan", "RefitLayer", "RefitReport", "distill_", "plan", "refit_"]
