"""A heart: shows a study's other processes that this one still does its run."""

from __future__ import annotations

from threading import Event, Thread
from types import TracebackType
from typing import Self

from hetconv.study.queue import Claim, Queue

BEAT_S = 10.0


class Heart:
    """Beats in a thread of its own for as long as a run is done; used as a context manager.

    `lost` is set once the run was taken over, which happens when this process seemed dead for the grace time.
    """

    def __init__(self, queue: Queue, claim: Claim, beat_s: float = BEAT_S) -> None:
        self.queue, self.claim, self.beat_s = queue, claim, beat_s
        self.lost, self._stop = Event(), Event()
        self._thread = Thread(target=self._beat, name=f"heart of {claim.key}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(self.beat_s):
            count += 1
            if not self.queue.beat(self.claim, count):
                self.lost.set()
                return
