"""The folder a study lives in: what is kept there, and that only one process writes it.

study.json                       what is compared, and how each run is trained
runs/<variant>/seed-<n>/run.json             what the run has found so far
runs/<variant>/seed-<n>/checkpoint.safetensors   where it goes on from
costs.json                       complexity and latency of each variant
results.json, report.html        everything above, for reading
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from hetconv.errors import UsageError
from hetconv.records import Circumstances, Results, Run, StudySettings, VariantCost, load_record, save_record

T = TypeVar("T")


@dataclass(frozen=True)
class Costs:
    """What is kept in costs.json."""

    circumstances: Circumstances
    costs: tuple[VariantCost, ...]


@dataclass(frozen=True)
class Store:
    """One study's folder."""

    folder: Path

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def open(self, settings: StudySettings) -> StudySettings:
        """Make the folder this study's, or see that it already is; returns all that the study then holds.

        Variants and seeds may be added to a study; the network, the data and the recipe may not change.

        Raises:
            UsageError: the folder holds another study; the message says what differs.
            DamagedFileError: its study.json cannot be read.
        """
        path = self.folder / "study.json"
        if path.exists():
            old = load_record(StudySettings, path)
            _check_same(old, settings, self.folder)
            settings = replace(
                settings, variants=_union(old.variants, settings.variants), seeds=_union(old.seeds, settings.seeds)
            )
        save_record(settings, path)
        return settings

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out while this one writes; the lock falls with the process, however it ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise UsageError(f"cannot write to {self.folder}: {error.strerror}; give another folder") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"{self.folder} is in use by another hetconv; wait for it or give another folder"
                ) from error
            yield

    def run_folder(self, variant: str, seed: int) -> Path:
        return self.folder / "runs" / variant / f"seed-{seed}"

    def checkpoint(self, variant: str, seed: int) -> Path:
        return self.run_folder(variant, seed) / "checkpoint.safetensors"

    def load_run(self, variant: str, seed: int) -> Run | None:
        """What a run has found so far; None if it has not begun."""
        path = self.run_folder(variant, seed) / "run.json"
        return load_record(Run, path) if path.exists() else None

    def save_run(self, run: Run) -> None:
        save_record(run, self.run_folder(run.variant, run.seed) / "run.json")

    def load_costs(self) -> Costs | None:
        path = self.folder / "costs.json"
        return load_record(Costs, path) if path.exists() else None

    def save_costs(self, costs: Costs) -> None:
        save_record(costs, self.folder / "costs.json")

    def save_results(self, results: Results) -> None:
        save_record(results, self.folder / "results.json")

    def load_results(self) -> Results:
        """Raises UsageError if no study is here."""
        path = self.folder / "results.json"
        if not path.exists():
            raise UsageError(f"looked for {path}; it is not there. `hetconv compare --out {self.folder}` makes one")
        return load_record(Results, path)


def _check_same(old: StudySettings, new: StudySettings, folder: Path) -> None:
    before, now = (
        {
            key: value
            for key, value in (asdict(side) | side.recipe).items()
            if key not in ("variants", "seeds", "recipe")
        }
        for side in (old, new)
    )
    different = sorted(key for key in before | now if before.get(key) != now.get(key))
    if different:
        changes = "; ".join(f"{key} was {before.get(key)} and is now {now.get(key)}" for key in different)
        raise UsageError(f"{folder} holds another study: {changes}. Give another folder with --out")


def _union(old: tuple[T, ...], new: tuple[T, ...]) -> tuple[T, ...]:
    return (*old, *(item for item in new if item not in old))
