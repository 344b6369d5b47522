"""What runs from several seeds allow to say: means with intervals, paired differences, verdicts on claims."""

from hetconv.lab.statistics.intervals import Spread, seeds_needed, spread
from hetconv.lab.statistics.runs import accuracies, paired_accuracy, paired_cost
from hetconv.lab.statistics.verdicts import Verdict, verdicts

__all__ = ["Spread", "Verdict", "accuracies", "paired_accuracy", "paired_cost", "seeds_needed", "spread", "verdicts"]
