"""How often training is stored: as often as its time allows, so that storing takes a fixed share of it at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TIMES = 200
"""After it was stored, training goes on for so many times as long as that took: storing takes half a percent."""
LONGEST_S = 300.0
"""It is stored every five minutes all the same, however long that takes."""


class Pace:
    """Says when training is due to be stored again; at first it is.

    Args:
        clock: seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.due = clock()

    def is_due(self) -> bool:
        return self.clock() >= self.due

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Around what stores: its time decides when it is due again."""
        begin = self.clock()
        yield
        end = self.clock()
        self.due = end + min(TIMES * (end - begin), LONGEST_S)
