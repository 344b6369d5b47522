"""Ctrl-C while the command is still loading PyTorch: one line, as at any later time, and no traceback."""

import itertools
import os
import signal
import sys
from pathlib import Path


def end_quietly_while_loading() -> None:
    """Until `hetconv.cli.main` takes over; does nothing where Python was not started for the command `hetconv`."""
    if is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def is_the_command() -> bool:
    """Whether Python was started for the command `hetconv`."""
    started = sys.orig_argv
    return ("-m", "hetconv") in itertools.pairwise(started) or Path(sys.argv[0]).name == "hetconv"


def _end(*_: object) -> None:
    os.write(2, b"hetconv: stopped; nothing was written\n")
    os._exit(130)
