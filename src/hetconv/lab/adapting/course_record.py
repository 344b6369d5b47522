"""What an adaptation has done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hetconv.records import Record


@dataclass(frozen=True)
class Step(Record):
    """One step, and the accuracy on the held-out split after it."""

    name: str
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Course(Record):
    """All steps so far.

    Attributes:
        identity: network, weights, data and settings.
        original_ms, adapted_ms: of the deployed networks, measured in turns at the end.
    """

    identity: dict[str, Any]
    steps: tuple[Step, ...]
    plan_seconds: float | None
    original_ms: float | None
    adapted_ms: float | None
