"""The command `hetconv`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hetconv.cli.options import DEBUG
from hetconv.cli.streams import tolerant_streams
from hetconv.errors import HetconvError, UsageError, WrongFileError
from hetconv.foreign import describe_error
from hetconv.plain_text import one_line

NAME = "hetconv"
USAGE, FAILURE, INTERRUPTED, TERMINATED = 2, 1, 130, 143
LONGEST_LINE = 2000
LAB = Path(__file__).parents[1] / "lab"
RESUMED = ("adapt", "compare", "sensitivity", "study", "train")
"""Commands that keep what they have done."""


class Terminated(BaseException):
    """The process was asked to end, by `kill` or a batch system: it lets go of what it does, as on Ctrl-C."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0, 2 if it was used wrongly, 1 if it failed, 130 or 143 if it was interrupted."""
    tolerant_streams()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(arguments))


def _terminate(*_: object) -> None:
    raise Terminated


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code; whatever goes wrong is one line on stderr.

    With `--debug` among the arguments, the traceback comes before that line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    given = [argument for argument in given if argument != DEBUG]
    try:
        code = _call(given)
    except Terminated:
        code = TERMINATED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (Exception, SystemExit) as error:  # SystemExit is a network's code that leaves
        if debug:
            traceback.print_exception(error)
        return _told(error, debug)
    if code in (INTERRUPTED, TERMINATED):
        goes_on = "the same command goes on from the last stored epoch"
        _say([f"stopped; {goes_on if given[:1] and given[0] in RESUMED else 'nothing was written'}"], code)
    return code


def _told(error: BaseException, debug: bool) -> int:
    """Say what went wrong; what no closer place has put into words keeps its traceback in a file."""
    if isinstance(error, WrongFileError):
        return _say(error.lines, USAGE)
    if isinstance(error, UsageError):
        return _say([str(error)], USAGE)
    if isinstance(error, HetconvError | OSError):
        return _say([str(error)], FAILURE)
    if isinstance(error, ModuleNotFoundError) and _raised_in_lab(error):
        return _say([f"this command needs {error.name}: pip install 'hetconv[lab]'"], USAGE)
    kept = "" if debug else f"; its traceback is in {_keep_traceback(error)}"
    return _say([f"failed unexpectedly: {describe_error(error)}{kept}; please report it"], FAILURE)


def _raised_in_lab(error: BaseException) -> bool:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    return bool(frames) and LAB in Path(frames[-1].filename).parents


def _keep_traceback(error: BaseException) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="hetconv-traceback-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as file:
        traceback.print_exception(error, file=file)
    return file.name


def _call(arguments: list[str]) -> int:
    import typer

    from hetconv.cli.app import app

    said: set[str] = set()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            _say([f"note: {message}"], 0)

    with warnings.catch_warnings():
        warnings.showwarning = note
        try:
            return int(app(arguments or ["--help"], prog_name=NAME, standalone_mode=False) or 0)
        except SystemExit as leaves:
            if not _is_of_a_shell(arguments):
                raise
            return leaves.code if isinstance(leaves.code, int) else 0
        except typer.TyperException as error:
            message = error.format_message() if isinstance(error, typer.BadParameter.__base__) else str(error)  # type: ignore
            raise UsageError(f"{message.replace('Value error, ', '')} (hetconv --help)") from error


def _is_of_a_shell(arguments: list[str]) -> bool:
    """Whether a shell asks for completions, or for how to get them; typer answers, and leaves."""
    return f"_{NAME.upper()}_COMPLETE" in os.environ or bool(
        {"--install-completion", "--show-completion"} & set(arguments)
    )


def _say(messages: Sequence[str], code: int) -> int:
    for message in messages:
        print(f"hetconv: {one_line(message, LONGEST_LINE)}", file=sys.stderr)
    return code
