"""One option for each layer: the smallest sum of losses within a sum of times, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Option:
    time: float
    loss: float


@dataclass(frozen=True)
class _Stage:
    """Partial sums that no other one beats in both time and loss, and how each was made of the stage before."""

    times: NDArray[np.float64]
    losses: NDArray[np.float64]
    parents: NDArray[np.int64]
    options: NDArray[np.int64]


def choose(layers: Sequence[Sequence[Option]], budget: float) -> list[int] | None:
    """The index of each layer's option; None if even the fastest ones take longer than the budget.

    Of equal losses the fastest choice is taken. Partial sums that another one beats in both time and loss are dropped
    (Nemhauser and Ullmann, 1969), and so are those that cannot be finished in time or be better than a choice that is
    known already; what is left is exact.
    """
    fastest = [min(option.time for option in options) for options in layers]
    if sum(fastest) > budget:
        return None
    least = [min(option.loss for option in options) for options in layers]
    known = _greedy(layers, budget)
    stage = _Stage(np.zeros(1), np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.int64))
    stages: list[_Stage] = []
    for index, options in enumerate(layers):
        time_after, loss_after = sum(fastest[index + 1 :]), sum(least[index + 1 :])
        stage = _next(stage, options, budget - time_after, known - loss_after)
        stages.append(stage)
    at = int(np.lexsort((stage.times, stage.losses))[0])
    found = []
    for stage in reversed(stages):
        found.append(int(stage.options[at]))
        at = int(stage.parents[at])
    return found[::-1]


def _next(stage: _Stage, options: Sequence[Option], latest: float, highest: float) -> _Stage:
    """Every partial sum with every option of the next layer, without those that are no use."""
    count = len(stage.times)
    times = np.concatenate([stage.times + option.time for option in options])
    losses = np.concatenate([stage.losses + option.loss for option in options])
    slack = 1e-9  # sums in another order differ in their last digits
    kept = np.flatnonzero((times <= latest + slack * abs(latest)) & (losses <= highest + slack * abs(highest)))
    kept = kept[np.lexsort((losses[kept], times[kept]))]
    lowest = np.minimum.accumulate(losses[kept])
    before = np.concatenate([[inf], lowest[:-1]])
    kept = kept[losses[kept] < before]
    return _Stage(times[kept], losses[kept], kept % count, kept // count)


def _greedy(layers: Sequence[Sequence[Option]], budget: float) -> float:
    """The loss of a choice within the budget: from the least losses, exchanges that gain most time for their loss."""
    choice = [min(options, key=lambda option: (option.loss, option.time)) for options in layers]
    while sum(option.time for option in choice) > budget:
        exchanges = [
            ((option.loss - choice[i].loss) / (choice[i].time - option.time), i, option)
            for i, options in enumerate(layers)
            for option in options
            if option.time < choice[i].time
        ]
        if not exchanges:  # the fastest, whose sum in this order is above the budget by a rounding
            return inf
        _, index, option = min(exchanges, key=lambda exchange: exchange[0])
        choice[index] = option
    return sum(option.loss for option in choice)
