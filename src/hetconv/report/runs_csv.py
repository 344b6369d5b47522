"""Runs as CSV and back: one line an epoch, so that curves survive the journey."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

from hetconv.errors import UsageError
from hetconv.records import Epoch, Run, StudyResults

EPOCH = [field.name for field in fields(Epoch)]
COLUMNS = ["network", "variant", "seed", "state", "error", *EPOCH]
WHOLE = {"seed", "epoch"}


def runs_csv(study: StudyResults) -> str:
    """Every run of every network. A run without an epoch has one line, with the epoch's columns empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for results in study.networks:
        for run in results.runs:
            about = [results.settings.network, run.variant, run.seed, run.state, run.error or ""]
            for epoch in run.epochs or (None,):
                writer.writerow([*about, *("" if epoch is None else repr(getattr(epoch, name)) for name in EPOCH)])
    return out.getvalue()


def read_runs_csv(path: Path) -> dict[str, tuple[Run, ...]]:
    """Runs by network, exactly as they were written.

    Raises:
        UsageError: the file is missing or is no such table; the message names the line.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if not lines or lines[0] != COLUMNS:
        raise UsageError(f"{path} line 1: the columns must be {','.join(COLUMNS)}")
    found: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            cells = dict(zip(COLUMNS, line, strict=True))
            seed, epoch = int(cells["seed"]), _epoch(cells)
        except ValueError as error:
            raise UsageError(f"{path} line {number}: {error}") from error
        if cells["state"] not in ("running", "done", "failed"):
            raise UsageError(f"{path} line {number}: state={cells['state']!r} must be running, done or failed")
        run = found.setdefault(cells["network"], {}).setdefault((cells["variant"], seed), {"epochs": []})
        run |= {"state": cells["state"], "error": cells["error"] or None}
        if epoch is not None:
            run["epochs"].append(epoch)
    return {
        network: tuple(
            Run(variant, seed, run["state"], tuple(run["epochs"]), run["error"])
            for (variant, seed), run in runs.items()
        )
        for network, runs in found.items()
    }


def _epoch(cells: dict[str, str]) -> Epoch | None:
    if not any(cells[name] for name in EPOCH):
        return None
    values: dict[str, Any] = {name: int(cells[name]) if name in WHOLE else float(cells[name]) for name in EPOCH}
    return Epoch(**values)
