"""Numbered jobs in a process of their own, which is begun anew behind a job that ended or blocked it."""

from __future__ import annotations

import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO

BEGIN, DONE = "job-begins", "job-done"


def begins(index: int, title: str) -> None:
    """Said by the process: this job begins."""
    print(BEGIN, index, title, flush=True)


def done(index: int) -> None:
    """Said by the process: this job's rows are written."""
    print(DONE, index, flush=True)


def run_jobs(
    command: Callable[[int], list[str]], seconds: float, until: float, failed: Callable[[str, str], None]
) -> None:
    """Run `command(first)`, which does the jobs from `first` on, until it ends well.

    Args:
        seconds: of silence after which a job is taken for blocked, and the process killed.
        until: time (of `time.time`) after which no process is begun; `seconds` later, one that still runs is killed.
        failed: told the title and the reason of a job that ended its process.
    """
    first = 0
    while first == 0 or time.time() < until:
        with subprocess.Popen(command(first), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            index, title, finished, reason = first, "before the first job", False, ""
            for line in _lines(process.stdout, seconds, until + seconds):
                if line is None:
                    late = time.time() >= until + seconds
                    reason = "time was over" if late else f"nothing was heard of it for {seconds:.0f} s"
                    process.kill()
                    break
                word, *rest = line.split(maxsplit=2)
                if word == BEGIN:
                    index, title, finished = int(rest[0]), rest[1].strip(), False
                elif word == DONE:
                    finished = True
                else:
                    sys.stdout.write(line)
                    sys.stdout.flush()
            status = process.wait()
        if status == 0:
            return
        if not finished:
            failed(title, reason or f"the process ended with status {status}")
        if title == "before the first job":
            return
        first = index + 1


def _lines(stream: IO[bytes], seconds: float, end: float) -> Iterator[str | None]:
    """Lines that are not empty, as they come; None, once, when nothing came for so long, or at the end of time."""
    selector, rest = selectors.DefaultSelector(), b""
    selector.register(stream, selectors.EVENT_READ)
    while True:
        left = end - time.time()
        if left <= 0 or not selector.select(min(seconds, left)):
            yield None
            return
        data = stream.read1()  # type: ignore[attr-defined]
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") + "\n" for line in lines if line.strip())
