"""Standard output and error that never end the work whose progress and results are printed there."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO


class TolerantStream:
    """A text stream that falls silent when nobody reads it any more, and writes what its encoding lacks as `\\xNN`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            self._fall_silent()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._fall_silent()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _fall_silent(self) -> None:
        """What is written from now on, and what is still buffered, goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def tolerant_streams() -> None:
    """Make this process's standard output and error such; where one is closed, what is written there goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115  (for as long as the process)
        setattr(sys, name, TolerantStream(stream))
