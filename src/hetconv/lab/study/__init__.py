"""Comparing variants of networks: training, costing, keeping the results; by many processes, through every crash."""

from hetconv.lab.study.comparison import Comparison
from hetconv.lab.study.definition import StudyDefinition
from hetconv.lab.study.engine import Study, compare, definition_in, join_study, open_study, statuses
from hetconv.lab.study.local_workers import LocalWorkers
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.study.ray_workers import RayWorkers
from hetconv.lab.study.store import Store
from hetconv.lab.study.team import Team, follow, launched_team, world_size
from hetconv.lab.study.tensorboard import write_tensorboard
from hetconv.lab.study.toml import load_definition, shipped

__all__ = [
    "CompareProgress",
    "Comparison",
    "LocalWorkers",
    "RayWorkers",
    "Store",
    "Study",
    "StudyDefinition",
    "Team",
    "compare",
    "definition_in",
    "follow",
    "join_study",
    "launched_team",
    "load_definition",
    "open_study",
    "shipped",
    "statuses",
    "world_size",
    "write_tensorboard",
]
