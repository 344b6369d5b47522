"""The clock of every comparison: calls timed in turns, so that the machine's drift hits all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

WARMUP_CALLS = 3
SAMPLE_MS = 10.0
"""One sample repeats a call until it lasts about this long, so that the clock's grain does not matter."""
ROUNDS = 15
ENOUGH_ROUNDS = 5
LONGEST_SECONDS = 5.0
"""Beyond this, `ENOUGH_ROUNDS` are enough where a choice is made: a call that takes long varies little."""
CALM_SPREAD = 0.15
"""Rounds that lie further apart than this were measured on a busy machine."""
AGREEING_ROUNDS = 0.75
"""The share of rounds in which one of two calls must be the faster one for it to be called so."""

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
    calls = {name: _calls_in_a_sample(timer, sample_ms, longest_seconds) for name, timer in timers.items()}
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


def spread(times: Sequence[float]) -> float:
    """How far rounds lie apart: the distance between their quartiles over their median; 0 of fewer than two."""
    if len(times) < 2:
        return 0.0
    first, median, third = statistics.quantiles(times, n=4, method="inclusive")
    return (third - first) / median


def calmer_times(measure: Callable[[], dict[Name, list[float]]]) -> tuple[dict[Name, list[float]], int]:
    """What `measure` gives, measured once more where its rounds lie far apart: the calmer of the two, and how many."""
    first = measure()
    if _largest_spread(first) <= CALM_SPREAD:
        return first, 1
    return min(first, measure(), key=_largest_spread), 2


def agree(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether one of two calls is the faster one in nearly all rounds; else chance decides which of them is."""
    faster = sum(a < b for a, b in zip(left, right, strict=True))
    return max(faster, len(left) - faster) >= AGREEING_ROUNDS * len(left)


def _largest_spread(times: Mapping[Name, list[float]]) -> float:
    return max(map(spread, times.values()))


def _calls_in_a_sample(timer: Timer, sample_ms: float, longest_seconds: float) -> int:
    begin = time.perf_counter()
    for _ in range(WARMUP_CALLS):
        milliseconds = timer(1)
        if time.perf_counter() - begin > longest_seconds:
            break
    return max(1, round(sample_ms / max(milliseconds, 1e-3))) if not math.isnan(milliseconds) else 1
