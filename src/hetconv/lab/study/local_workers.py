"""Worker processes on this machine: started together, listened to, and started again when something kills them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from hetconv.errors import HetconvError

RESTARTS = 100
"""Of all workers together; a run that is killed every time ends as failed long before."""
STOP_S = 10.0
"""How long a worker that is told to end has for it."""


@dataclass(frozen=True)
class Process:
    """One worker, the thread that listens to it, and what it said."""

    process: subprocess.Popen[str]
    listener: Thread
    heard: list[str]


@dataclass(frozen=True)
class LocalWorkers:
    """Processes that work for the study in a folder. `say` is told each line that one of them prints on standard
    error, with its number before it."""

    folder: Path
    count: int
    threads: int | None
    say: Callable[[str], None]

    def run(self) -> None:
        """Run them until each has found that every run has ended. One that a signal ended is started again. Whatever
        ends this call ends them too.

        Raises:
            HetconvError: a worker failed, with its last line; the others were let finish first.
        """
        running: dict[int, Process] = {}
        restarts, failed = 0, []
        try:
            for number in range(1, self.count + 1):
                running[number] = self._start(number)
            while running:
                for number, worker in list(running.items()):
                    try:
                        code = worker.process.wait(timeout=0.2)
                    except subprocess.TimeoutExpired:
                        continue
                    worker.listener.join()
                    if code < 0 and restarts < RESTARTS:
                        restarts += 1
                        self.say(f"worker {number}: killed by signal {-code}; starting it again")
                        running[number] = self._start(number)
                        continue
                    del running[number]
                    if code != 0:
                        failed.append(f"worker {number} ended with {code}: {(worker.heard or ['it said nothing'])[-1]}")
        finally:
            _stop(running.values())
        if failed:
            raise HetconvError("; ".join(failed))

    def command(self) -> list[str]:
        """`-P`: a file of the working folder must not take the place of an installed module."""
        threads = [] if self.threads is None else ["--threads", str(self.threads)]
        return [sys.executable, "-P", "-m", "hetconv", "study", "worker", "--out", str(self.folder), *threads]

    def _start(self, number: int) -> Process:
        process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        heard: list[str] = []
        listener = Thread(target=self._listen, args=(process.stderr, number, heard), daemon=True)
        listener.start()
        return Process(process, listener, heard)

    def _listen(self, lines: IO[str], number: int, heard: list[str]) -> None:
        with lines:
            for line in lines:
                heard.append(line.strip())
                self.say(f"worker {number}: {line.rstrip()}")


def _stop(workers: Iterable[Process]) -> None:
    """End workers: they let go of their runs first."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        try:
            worker.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
