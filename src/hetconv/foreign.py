"""Code and files of others: whatever they raise becomes one line that says what failed and where."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hetconv.errors import HetconvError, UsageError
from hetconv.plain_text import one_line

LONGEST_MESSAGE = 300
INSTALLED = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")})
"""Folders of Python and of installed packages: a line of theirs is not what a user can change."""


@contextmanager
def foreign(what: str, kind: type[UsageError] | type[HetconvError] = UsageError, way_out: str = "") -> Iterator[None]:
    """Around code or files of others: whatever they raise becomes one error of this package.

    This package's own errors pass, and so does Ctrl-C. `SystemExit` does not: a network's code may not end the command.

    Args:
        what: what failed, in words: "network 'a:b' cannot be made".
        way_out: what the user can do.

    Raises:
        UsageError, HetconvError: whichever `kind` is, with the first error as its cause.
    """
    try:
        yield
    except (UsageError, HetconvError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise kind(f"{what}: {describe_error(error)}{'; ' if way_out else ''}{way_out}") from error


def describe_error(error: BaseException) -> str:
    """An error in one line: its kind, its message, and the line of the user's own code that raised it, if one did.

    Of this package's own errors the message says all.
    """
    if isinstance(error, UsageError | HetconvError):
        return one_line(str(error))
    try:
        message = one_line(str(error), LONGEST_MESSAGE)
    except Exception:
        message = "it has no message"
    place = _place(error)
    return f"{type(error).__name__}{': ' if message else ''}{message}{f' ({place})' if place else ''}"


def _place(error: BaseException) -> str:
    """The innermost line outside of Python, installed packages and this one."""
    here = str(Path(__file__).resolve().parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith("<"):
            continue
        path = str(Path(frame.filename).resolve())
        if not path.startswith((here, *INSTALLED)):
            return f"{one_line(Path(path).name)} line {frame.lineno}"
    return ""
