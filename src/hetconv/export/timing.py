"""Timing loaded networks in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TypeVar

from hetconv.runtimes import Session
from hetconv.runtimes.session import Array

WARMUP_CALLS = 3
SAMPLE_SECONDS = 0.01
ROUNDS = 15
ENOUGH_ROUNDS = 5
LONGEST_SECONDS = 5.0
"""Beyond this, `ENOUGH_ROUNDS` are enough: a call that takes long varies little."""

Name = TypeVar("Name", bound=str)


def interleaved_medians(sessions: Mapping[Name, Session], x: Array, rounds: int = ROUNDS) -> dict[Name, float]:
    """Median milliseconds of a call of each, all in turns, so that the machine's drift hits all alike."""
    repeats = {name: _repeats(session, x) for name, session in sessions.items()}
    times: dict[Name, list[float]] = {name: [] for name in sessions}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= ENOUGH_ROUNDS and time.perf_counter() - start > LONGEST_SECONDS:
            break
        for name, session in sessions.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                session(x)
            times[name].append(1000 * (time.perf_counter() - begin) / repeats[name])
    return {name: statistics.median(values) for name, values in times.items()}


def _repeats(session: Session, x: Array) -> int:
    """How many calls make one sample."""
    for _ in range(WARMUP_CALLS):
        begin = time.perf_counter()
        session(x)
        seconds = time.perf_counter() - begin
    return max(1, round(SAMPLE_SECONDS / max(seconds, 1e-6)))
