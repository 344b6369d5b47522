"""The errors that end in one line for a user of the command."""

from collections.abc import Sequence
from pathlib import Path


class UsageError(ValueError):
    """An argument is wrong: the message names it, its value, the rule and the way out. Exit code 2."""


class WrongFileError(UsageError):
    """A file that a user writes has wrong keys or values: one line for each of them."""

    def __init__(self, path: Path | str, lines: Sequence[str]) -> None:
        self.lines = tuple(f"{path}: {line}" for line in lines)
        super().__init__("; ".join(self.lines))


class HetconvError(RuntimeError):
    """Something failed that no argument explains. Exit code 1."""


class DamagedFileError(HetconvError):
    """A file that this package wrote cannot be read back."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged: {why}; delete it to start that part afresh")
        self.path, self.why = path, why


class NotFiniteError(HetconvError):
    """The training loss became NaN or infinite."""
