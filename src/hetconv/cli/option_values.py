"""What options mean: networks, sizes and numbers from their text."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from hetconv.errors import UsageError
from hetconv.lab.settings.comparison import MOST_THREADS
from hetconv.plain_text import visible

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_SIDE = 2**16
LARGEST_EXAMPLE = 2**30
PIPE_WIDTH = 120
"""Columns of what is printed where there is no terminal."""


def tell_if_random(model: str, weights: Path | None) -> None:
    """Say on standard error that the result is of no use but for timing."""
    from hetconv.lab.models.registry import starts_random

    if weights is None and starts_random(model):
        text = f"hetconv: note: the weights of {model} are random; give trained ones with --weights"
        typer.echo(visible(text), err=True)


def example_of(batch_size: int, size: tuple[int, int, int]) -> Tensor:
    import torch

    check_example(batch_size, size)
    return torch.randn(batch_size, *size, generator=torch.Generator().manual_seed(0))


def check_example(batch_size: int, size: tuple[int, int, int]) -> None:
    """See that a batch fits into a usual memory, or the command would end without a word.

    Raises:
        UsageError: it does not.
    """
    count = batch_size * math.prod(size)
    if count > LARGEST_EXAMPLE:
        shape = "×".join(map(str, (batch_size, *size)))
        raise UsageError(f"an example of {shape} numbers is more than the {LARGEST_EXAMPLE:,} that are taken")


def say(text: object) -> None:
    """Print a text on standard output; names in it may come from anywhere."""
    typer.echo(visible(str(text)))


def console() -> Console:
    """Standard output; wide enough for whole rows where it goes into a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise UsageError(f"--{option} {text!r} must be whole numbers separated by commas") from error


def thread_counts(text: str) -> tuple[int, ...]:
    """Numbers of threads, each once; "all" is as many as this process may run on."""
    every = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    counts = numbers("threads", ",".join(every if part == "all" else part for part in text.split(",")))
    if not counts or min(counts) < 1 or max(counts) > MOST_THREADS:
        raise UsageError(f"--threads {text!r} must be numbers between 1 and {MOST_THREADS}, or all, as in 1,all")
    return tuple(dict.fromkeys(counts))


def fractions(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError as error:
        raise UsageError(f"--{option} {text!r} must be numbers separated by commas") from error


def sizes_of(text: str) -> tuple[int, int, int]:
    try:
        sizes = numbers("input", text)
    except UsageError:
        sizes = ()
    if len(sizes) != 3 or min(sizes) < 1 or max(sizes) > LARGEST_SIDE:
        raise UsageError(f"--input {text!r} must be channels,height,width, such as 3,32,32, each up to {LARGEST_SIDE}")
    return sizes[0], sizes[1], sizes[2]
