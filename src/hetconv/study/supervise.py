"""Worker processes on this machine: started together, heard, and started again when something kills them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from hetconv.errors import HetconvError

RESTARTS = 100
"""Of all workers together; a run that is killed every time ends as failed long before."""


@dataclass(frozen=True)
class Crew:
    """What the workers of a study are told."""

    folder: Path
    workers: int
    storage: str | None = None
    study: str | None = None
    threads: int | None = None

    def command(self) -> list[str]:
        options = ["--out", str(self.folder)]
        for name, value in (("--storage", self.storage), ("--study", self.study), ("--threads", self.threads)):
            if value is not None:
                options += [name, str(value)]
        return [sys.executable, "-m", "hetconv", "study", "worker", *options]


def supervise(crew: Crew, say: Callable[[str], None]) -> None:
    """Run the workers until each has found that every run has ended. A worker that a signal ended is started again.

    Args:
        say: told each line that a worker prints on standard error, with the worker's number before it.

    Raises:
        HetconvError: a worker failed, with its last line; the others were let finish first.
    """
    running = {number: _start(crew, number, say) for number in range(1, crew.workers + 1)}
    restarts, failed = 0, []
    try:
        while running:
            for number, worker in list(running.items()):
                try:
                    code = worker.process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
                worker.listener.join()
                if code < 0 and restarts < RESTARTS:
                    restarts += 1
                    say(f"worker {number}: killed by signal {-code}; starting it again")
                    running[number] = _start(crew, number, say)
                    continue
                del running[number]
                if code != 0:
                    failed.append(f"worker {number} ended with {code}: {(worker.heard or ['it said nothing'])[-1]}")
    finally:
        for worker in running.values():
            worker.process.terminate()
    if failed:
        raise HetconvError("; ".join(failed))


@dataclass(frozen=True)
class Worker:
    """One process, the thread that listens to it, and what it said."""

    process: subprocess.Popen[str]
    listener: Thread
    heard: list[str]


def _start(crew: Crew, number: int, say: Callable[[str], None]) -> Worker:
    process = subprocess.Popen(crew.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    heard: list[str] = []
    listener = Thread(target=_listen, args=(process.stderr, number, heard, say), daemon=True)
    listener.start()
    return Worker(process, listener, heard)


def _listen(lines: IO[str], number: int, heard: list[str], say: Callable[[str], None]) -> None:
    with lines:
        for line in lines:
            heard.append(line.strip())
            say(f"worker {number}: {line.rstrip()}")
