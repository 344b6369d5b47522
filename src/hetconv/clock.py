"""The clock of every comparison: calls timed in turns, so that the machine's drift hits all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

WARMUP_CALLS = 3
SAMPLE_MS = 10.0
"""One sample repeats a call until it lasts about this long, so that the clock's grain does not matter."""
ROUNDS = 15
ENOUGH_ROUNDS = 5
LONGEST_SECONDS = 5.0
"""Beyond this, `ENOUGH_ROUNDS` are enough where a choice is made: a call that takes long varies little."""

Timer = Callable[[int], float]
"""Makes so many calls; returns the milliseconds of one."""
Name = TypeVar("Name", bound=Hashable)


def wall(call: Callable[..., object], *args: Any, wait: Callable[[], object] | None = None) -> Timer:
    """The timer of a call by the wall clock.

    Args:
        wait: called before the clock is read at the end, for a device that computes meanwhile.
    """

    def timer(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            call(*args)
        if wait is not None:
            wait()
        return 1000 * (time.perf_counter() - begin) / count

    return timer


def times_in_turns(
    timers: Mapping[Name, Timer],
    rounds: int,
    *,
    sample_ms: float = SAMPLE_MS,
    enough_rounds: int = ENOUGH_ROUNDS,
    longest_seconds: float = math.inf,
) -> dict[Name, list[float]]:
    """Milliseconds of a call by each timer, a sample in every round, after calls to warm up.

    Args:
        longest_seconds: when they have passed, `enough_rounds` are enough.
    """
    calls = {name: _calls_in_a_sample(timer, sample_ms) for name, timer in timers.items()}
    times: dict[Name, list[float]] = {name: [] for name in timers}
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= enough_rounds and time.perf_counter() - begin > longest_seconds:
            break
        for name, timer in timers.items():
            times[name].append(timer(calls[name]))
    return times


def medians_in_turns(timers: Mapping[Name, Timer], rounds: int = ROUNDS) -> dict[Name, float]:
    """Median milliseconds of a call by each timer: what a choice between them needs."""
    return medians(times_in_turns(timers, rounds, longest_seconds=LONGEST_SECONDS))


def medians(times: Mapping[Name, list[float]]) -> dict[Name, float]:
    return {name: statistics.median(values) for name, values in times.items()}


def _calls_in_a_sample(timer: Timer, sample_ms: float) -> int:
    for _ in range(WARMUP_CALLS):
        milliseconds = timer(1)
    return max(1, round(sample_ms / max(milliseconds, 1e-3))) if milliseconds == milliseconds else 1
