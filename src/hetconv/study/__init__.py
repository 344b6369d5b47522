"""Comparing variants of networks: training, costing, keeping the results; by many processes, through every crash."""

from hetconv.study.compare import compare
from hetconv.study.comparison import Comparison
from hetconv.study.definition import StudyDefinition
from hetconv.study.engine import Study, join_study, open_study
from hetconv.study.progress import CompareProgress
from hetconv.study.store import Store
from hetconv.study.supervise import Crew, supervise
from hetconv.study.team import Team, follow, launched_team
from hetconv.study.tensorboard import write_tensorboard
from hetconv.study.toml import load_definition, shipped

__all__ = [
    "CompareProgress",
    "Comparison",
    "Crew",
    "Store",
    "Study",
    "StudyDefinition",
    "Team",
    "compare",
    "follow",
    "join_study",
    "launched_team",
    "load_definition",
    "open_study",
    "shipped",
    "supervise",
    "write_tensorboard",
]
