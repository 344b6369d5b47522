"""Settings: one tree of dataclasses, from which a command's options are made and into which a study's file is read."""

from hetconv.lab.settings.adaptation import Adaptation, Budget, Tuning
from hetconv.lab.settings.bench import Bench
from hetconv.lab.settings.comparison import Comparison, Probing, SingleRun, StageSettings
from hetconv.lab.settings.recipe import Recipe
from hetconv.lab.settings.setting import Setting
from hetconv.lab.settings.study import RunKey, StudyDefinition, definition_of
from hetconv.lab.settings.study_file import load_definition, parse_definition, shipped
from hetconv.lab.settings.trained import Opening, TrainedAs, TrainedSize

__all__ = [
    "Adaptation",
    "Bench",
    "Budget",
    "Comparison",
    "Opening",
    "Probing",
    "Recipe",
    "RunKey",
    "Setting",
    "SingleRun",
    "StageSettings",
    "StudyDefinition",
    "TrainedAs",
    "TrainedSize",
    "Tuning",
    "definition_of",
    "load_definition",
    "parse_definition",
    "shipped",
]
