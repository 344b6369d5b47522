"""What runs from several seeds allow to say: means with intervals, paired differences, verdicts on claims."""

from hetconv.statistics.intervals import Spread, seeds_needed, spread
from hetconv.statistics.runs import accuracies, paired_accuracy, paired_cost
from hetconv.statistics.verdicts import Verdict, verdicts

__all__ = ["Spread", "Verdict", "accuracies", "paired_accuracy", "paired_cost", "seeds_needed", "spread", "verdicts"]
