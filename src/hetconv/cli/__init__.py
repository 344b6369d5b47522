"""The command `hetconv`."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from hetconv.cli.streams import tolerant_streams
from hetconv.errors import HetconvError, UsageError, WrongFileError

USAGE, FAILURE, INTERRUPTED, TERMINATED = 2, 1, 130, 143
RESUMED = ("adapt", "compare", "sensitivity", "study", "train")
"""Commands that keep what they have done."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end, by `kill` or a batch system: it lets go of what it does, as on Ctrl-C."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0, 2 if it was used wrongly, 1 if it failed, 130 or 143 if it was interrupted."""
    tolerant_streams()
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(arguments))


def _terminate(*_: object) -> None:
    raise Terminated


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code; what a user can mend is one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = _call(given)
    except WrongFileError as error:
        return _say_lines(error.lines, USAGE)
    except UsageError as error:
        return _say(str(error), USAGE)
    except (HetconvError, OSError) as error:
        return _say(str(error), FAILURE)
    except Terminated:
        code = TERMINATED
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code in (INTERRUPTED, TERMINATED):
        goes_on = "the same command goes on from the last stored epoch"
        _say(f"stopped; {goes_on if given[:1] and given[0] in RESUMED else 'nothing was written'}", code)
    return code


def _call(arguments: list[str]) -> int:
    import typer

    from hetconv.cli.app import app

    said: set[str] = set()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            _say(f"note: {message}", 0)

    with warnings.catch_warnings():
        warnings.showwarning = note
        try:
            return int(app(arguments or ["--help"], standalone_mode=False) or 0)
        except typer.TyperException as error:
            message = error.format_message() if isinstance(error, typer.BadParameter.__base__) else str(error)  # type: ignore
            raise UsageError(f"{message} (hetconv --help)") from error


def _say(message: str, code: int) -> int:
    return _say_lines([message], code)


def _say_lines(messages: Sequence[str], code: int) -> int:
    for message in messages:
        print(f"hetconv: {' '.join(message.split())}", file=sys.stderr)
    return code
