"""Comparing variants of networks: training, costing, keeping the results; by many processes, through every crash."""

from hetconv.lab.study.local_workers import LocalWorkers
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.study.ray_workers import RayWorkers
from hetconv.lab.study.store import Store
from hetconv.lab.study.study_folder import Study, compare, definition_in, join_study, open_study, statuses
from hetconv.lab.study.team import Team, follow, launched_team, world_size
from hetconv.lab.study.tensorboard import write_tensorboard

__all__ = [
    "CompareProgress",
    "LocalWorkers",
    "RayWorkers",
    "Store",
    "Study",
    "Team",
    "compare",
    "definition_in",
    "follow",
    "join_study",
    "launched_team",
    "open_study",
    "statuses",
    "world_size",
    "write_tensorboard",
]
