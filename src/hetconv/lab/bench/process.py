"""Runtimes in processes of their own: prepared in one, then asked in another to run when it is their turn."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from hetconv.errors import HetconvError
from hetconv.lab.bench import preparing_process, timing_process
from hetconv.lab.bench.registry import Runner
from hetconv.plain_text import one_line

LONGEST_WORDS = 300


def prepared(runner: Runner, folder: Path, threads: int) -> str:
    """Prepare the folder's network for a runtime; returns the remark for the table.

    Raises:
        HetconvError: it failed, or its process died of it.
    """
    with tempfile.TemporaryFile(mode="w+") as errors:
        done = subprocess.run(
            [sys.executable, "-P", preparing_process.__file__, str(runner.path), str(folder), str(threads)],
            input=json.dumps(sys.path), stdout=subprocess.PIPE, stderr=errors, text=True, check=False,
        )  # fmt: skip
        found = next(filter(None, map(_said, done.stdout.splitlines())), None)
        if found is None:
            raise HetconvError(_last_words(done.returncode, errors))
    if "error" in found:
        raise HetconvError(found["error"])
    return str(found["remark"])


class Worker:
    """A started runtime; used as a context manager.

    Attributes:
        cold_start_ms: from starting the process to its first output, the interpreter's own start included.
        peak_bytes: the most memory it had held by then; 0 if not known.
        output: its first output.

    Raises:
        HetconvError: the process failed; the message is the last line that it said.
    """

    def __init__(self, runner: Runner, folder: Path, threads: int) -> None:
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  (closed with the process)
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-P", timing_process.__file__, str(runner.path), str(folder), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        try:
            self.peak_bytes = int(self._answer()["peak_bytes"])
            self.cold_start_ms = 1000 * (time.perf_counter() - begin)
            self.output: NDArray[Any] = np.load(folder / "output.npy")
        except BaseException:
            self.close()
            raise

    def milliseconds(self, calls: int) -> float:
        """Run a number of calls; the mean time of one.

        Raises:
            HetconvError: the process has died.
        """
        assert self._process.stdin is not None
        try:
            print(calls, file=self._process.stdin, flush=True)
        except OSError as error:
            raise HetconvError(_last_words(self._process.wait(), self._errors)) from error
        return 1000 * float(self._answer()["seconds"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = _said(line)
            if found is not None:
                return found
        raise HetconvError(_last_words(self._process.wait(), self._errors))


def _said(line: str) -> dict[str, Any] | None:
    """What a line of a process's output tells; None for what its runtime prints."""
    return json.loads(line.removeprefix(timing_process.MARK)) if line.startswith(timing_process.MARK) else None


def _last_words(code: int, errors: IO[str]) -> str:
    """How a process ended, in one line."""
    errors.seek(0)
    lines = [line for line in errors if line.strip()]
    last = one_line(lines[-1], LONGEST_WORDS) if lines else ""
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}" + (f" after it said {last!r}" if last else "")
    return last or f"its process ended with code {code} and said nothing"
