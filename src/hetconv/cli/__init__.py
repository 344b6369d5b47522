"""The command `hetconv`."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from hetconv.errors import HetconvError, UsageError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0, 2 if it was used wrongly, 1 if it failed, 130 if it was interrupted."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code; what a user can mend is one line on stderr."""
    import typer

    from hetconv.cli.app import app

    arguments = sys.argv[1:] if arguments is None else arguments
    warnings.showwarning = _warn
    try:
        code = app(arguments or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message() if isinstance(error, typer.BadParameter.__base__) else str(error)  # type: ignore
        return _say(f"{message} (hetconv --help)", USAGE)
    except UsageError as error:
        return _say(str(error), USAGE)
    except (HetconvError, OSError) as error:
        return _say(str(error), FAILURE)
    if code == INTERRUPTED:
        return _say("stopped; nothing is lost, the same command goes on from the last finished epoch", INTERRUPTED)
    return 0


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"note: {message}", 0)


def _say(message: str, code: int) -> int:
    print(f"hetconv: {' '.join(message.split())}", file=sys.stderr)
    return code
