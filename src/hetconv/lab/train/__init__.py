"""Training: data, recipes, and one loop for every method."""

from hetconv.lab.train.data import Data, load_data
from hetconv.lab.train.distillation import Distillation
from hetconv.lab.train.loop import Progress, train
from hetconv.lab.train.objective import FromWeights, Objective

__all__ = ["Data", "Distillation", "FromWeights", "Objective", "Progress", "load_data", "train"]
