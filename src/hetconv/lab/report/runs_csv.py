"""Runs as CSV and back: one line an epoch, so that curves survive the journey."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hetconv.errors import UsageError
from hetconv.lab.results import Epoch, Run, StudyResults

EPOCH = [item.name for item in fields(Epoch)]
COLUMNS = ["network", "variant", "seed", "state", "error", "compression", *EPOCH]
OPTIONAL = ("views_accuracy",)
"""Columns of an epoch that may be empty."""
STATES = ("running", "done", "failed")
TEXTS = ("network", "variant", "error", "compression")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""What a spreadsheet takes for the beginning of a formula; such a text gets an apostrophe before it, which it hides."""


def runs_csv(study: StudyResults) -> str:
    """Every run of every network. A run without an epoch has one line, with the epoch's columns empty; `compression`
    is the method of a network that was compressed after training."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    quoting = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the other takes \r for no end of a line
    writer.writerow(COLUMNS)
    for results in study.networks:
        for run in results.runs:
            method = "" if run.compression is None else run.compression.method
            texts = map(_harmless, (results.settings.network, run.variant, run.error or "", method))
            network, variant, error, method = texts
            about = [network, variant, run.seed, run.state, error, method]
            for epoch in run.epochs or (None,):
                row = [*about, *("" if epoch is None else _cell(epoch, name) for name in EPOCH)]
                (quoting if any("\r" in str(cell) for cell in about) else writer).writerow(row)
    return out.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _cell(epoch: Epoch, name: str) -> str:
    value = getattr(epoch, name)
    return "" if value is None else repr(value)


def read_runs_csv(path: Path) -> dict[str, tuple[Run, ...]]:
    """Runs by network, exactly as they were written.

    Raises:
        UsageError: the file is missing, is cut short or is no such table, or has a network that was compressed, of
            which this table does not tell enough; the message names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    found: dict[str, dict[tuple[str, int], _Found]] = {}
    for number, cells in _lines(path, text):
        try:
            seed, epoch = _whole(cells, "seed", 0), _epoch(cells)
            run = found.setdefault(cells["network"], {}).setdefault(
                (cells["variant"], seed), _Found(cells["state"], cells["error"])
            )
            run.add(cells, epoch)
        except ValueError as error:
            raise UsageError(f"{path} line {number}: {error}") from error
    return {
        network: tuple(
            Run(variant, seed, run.state, tuple(run.epochs), run.error or None)  # type: ignore[arg-type]
            for (variant, seed), run in runs.items()
        )
        for network, runs in found.items()
    }


@dataclass
class _Found:
    """What the lines of one run have told so far."""

    state: str
    error: str
    epochs: list[Epoch] = field(default_factory=list)
    lines: int = 0

    def add(self, cells: dict[str, str], epoch: Epoch | None) -> None:
        if self.state not in STATES:
            raise ValueError(f"state={self.state[:40]!r} must be running, done or failed")
        if cells["compression"]:
            raise ValueError(
                f"{cells['variant'][:40]!r} was compressed after training, of which CSV does not tell enough; delete it"
            )
        if (cells["state"], cells["error"]) != (self.state, self.error):
            raise ValueError(f"state={cells['state'][:40]!r} and error must be those of the run's line before")
        expected = len(self.epochs) + 1
        if epoch is None and (self.lines or self.state == "done"):
            raise ValueError("a line without an epoch must be the only one of its run, and the run not done")
        if epoch is not None and (epoch.epoch != expected or len(self.epochs) < self.lines):
            raise ValueError(f"epoch={epoch.epoch} must be {expected}, the one after the line before; is one missing?")
        self.epochs += [] if epoch is None else [epoch]
        self.lines += 1


def _lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's cells by column, with the number of the line that it ends on."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in rows:
            if rows.line_num == 1 and row != COLUMNS:
                raise UsageError(f"{path} line 1: the columns must be {','.join(COLUMNS)}")
            if len(row) != len(COLUMNS):
                raise UsageError(
                    f"{path} line {rows.line_num}: {len(row)} cells, not {len(COLUMNS)}; is the file cut short?"
                )
            if row != COLUMNS or rows.line_num > 1:
                cells = dict(zip(COLUMNS, row, strict=True))
                yield rows.line_num, cells | {name: cells[name].removeprefix("'") for name in TEXTS}
    except csv.Error as error:
        raise UsageError(f"{path} line {rows.line_num}: {error}; is the file cut short?") from error
    if not text.endswith("\n"):
        raise UsageError(f"{path} line {max(rows.line_num, 1)}: the line has no end; the file is cut short")


def _epoch(cells: dict[str, str]) -> Epoch | None:
    if not any(cells[name] for name in EPOCH):
        return None
    given = [name for name in EPOCH if name != "epoch" and (cells[name] or name not in OPTIONAL)]
    numbers = {name: _number(cells, name) for name in given}
    if not 0 <= numbers["accuracy"] <= 1:
        raise ValueError(f"accuracy={cells['accuracy'][:40]!r} must be a fraction between 0 and 1")
    values: dict[str, Any] = {"epoch": _whole(cells, "epoch", 1), **numbers}
    return Epoch(**values)


def _whole(cells: dict[str, str], name: str, lowest: int) -> int:
    text = cells[name]
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= lowest):
        raise ValueError(f"{name}={text[:40]!r} must be a whole number of at least {lowest}")
    return int(text)


def _number(cells: dict[str, str], name: str) -> float:
    try:
        found = float(cells[name])
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name}={cells[name][:40]!r} must be a finite number")
    return found
