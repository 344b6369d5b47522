"""Progress of a comparison in a terminal; where there is none, a plain line a minute."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hetconv.lab.results import Epoch
from hetconv.lab.study import CompareProgress
from hetconv.plain_text import visible

LINE_SECONDS = 60.0
"""Between two lines where there is no terminal."""


class TerminalProgress(CompareProgress):
    """Two bars with the time left, for all epochs and for the steps of this one; used as a context manager.

    Where there is no terminal, a line a minute says where the training is.
    """

    def __init__(self, console: Console, runs: int, epochs: int) -> None:
        self.console, self.epochs = console, epochs
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.whole = self.bars.add_task("all epochs", total=runs * epochs)
        self.part = self.bars.add_task("steps", total=None)
        self.name, self.last_line = "", time.monotonic()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()

    def run(self, variant: str, seed: int, epochs_done: int, epochs: int) -> None:
        self.name, self.epochs = f"{variant} seed {seed}", epochs
        if epochs_done == epochs:
            self.console.print(f"{self.name}: done before", highlight=False)
            self.bars.advance(self.whole, epochs)

    def resumed(self, epochs: tuple[Epoch, ...]) -> None:
        self.console.print(f"{self.name}: going on after epoch {len(epochs)}", highlight=False)
        self.bars.advance(self.whole, len(epochs))

    def step(self, epoch: int, step: int, steps: int) -> None:
        self.bars.update(self.part, description=f"{self.name}, epoch {epoch}", completed=step, total=steps)
        if not self.console.is_terminal and time.monotonic() - self.last_line >= LINE_SECONDS:
            self.last_line = time.monotonic()
            self.console.print(
                f"{self.name}: epoch {epoch} of {self.epochs}, step {step} of {steps}", highlight=False, soft_wrap=True
            )

    def epoch(self, found: Epoch) -> None:
        self.bars.advance(self.whole)
        if found.epoch == self.epochs:
            self.console.print(
                f"{self.name}: accuracy {found.accuracy:.2%} after epoch {found.epoch} ({found.seconds:.1f} s)",
                highlight=False,
            )

    def costing(self, variants: tuple[str, ...]) -> None:
        self.console.print(f"measuring times, in turns: {', '.join(variants)}", highlight=False)

    def waiting(self, running: int) -> None:
        self.console.print(f"no run is left to begin; waiting for {running} of other processes", highlight=False)

    def notice(self, text: str) -> None:
        self.console.print(visible(text), highlight=False, markup=False)
