"""The other end of `worker.py`: a runtime in a process of its own, asked to run when it is its turn."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hetconv.bench import worker
from hetconv.bench.registry import Runner
from hetconv.errors import HetconvError


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
            [sys.executable, "-P", worker.__file__, str(runner.path), str(folder), str(threads)],
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
        """Run a number of calls; the mean time of one."""
        assert self._process.stdin is not None
        try:
            print(calls, file=self._process.stdin, flush=True)
        except OSError as error:
            raise HetconvError(self._last_words()) from error
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
            if line.startswith(worker.MARK):
                return json.loads(line.removeprefix(worker.MARK))  # type: ignore[no-any-return]
        raise HetconvError(self._last_words())

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1][:300] if lines else f"its process ended with code {code} and said nothing"
