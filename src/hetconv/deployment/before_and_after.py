"""What deployment brings: the network before and after it, timed in turns."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from torch import nn

from hetconv.clock import calmer_times, spread, times_in_turns, wall
from hetconv.deployment.deploy_report import BeforeAndAfter

ROUNDS, ENOUGH_ROUNDS = 15, 3
SECONDS = 0.7


def before_and_after(original: nn.Module, deployed: nn.Module, args: tuple[Any, ...]) -> BeforeAndAfter:
    """Time both on these arguments, in about a second; both are in evaluation mode."""
    timers = {"eager": wall(original, *args), "deployed": wall(deployed, *args)}
    measure = partial(times_in_turns, timers, ROUNDS, enough_rounds=ENOUGH_ROUNDS, longest_seconds=SECONDS)
    times, measured = calmer_times(measure)
    eager, after = times["eager"], times["deployed"]
    widest = max(spread(eager), spread(after))
    return BeforeAndAfter(statistics.median(eager), statistics.median(after), widest, len(eager), measured)
