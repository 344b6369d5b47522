"""One network's part of a study."""

from __future__ import annotations

from dataclasses import dataclass

from hetconv.lab.study.comparison import Comparison
from hetconv.lab.study.store import Store
from hetconv.lab.train import Data


@dataclass(frozen=True)
class NetworkStudy:
    """What is trained, on what, and where it is kept."""

    comparison: Comparison
    data: Data
    store: Store
