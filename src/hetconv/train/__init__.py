"""Training: data, recipes, and one loop for every method."""

from hetconv.train.data import Data, load_data
from hetconv.train.distillation import Distillation
from hetconv.train.loop import Progress, train
from hetconv.train.objective import Objective
from hetconv.train.recipe import Recipe

__all__ = ["Data", "Distillation", "Objective", "Progress", "Recipe", "load_data", "train"]
