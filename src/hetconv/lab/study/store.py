"""The folder in which one network's part of a study lives, and what is kept there.

study.json                      what is compared, and how each run is trained
runs/<variant>/seed-<n>/        a run: see `hetconv.lab.study.attempts`
costs.json                      complexity and latency of each variant
results.json, report.html       everything above, for reading

study.json and the runs' run.json are all that a study needs to go on: the others are made anew.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hetconv.errors import DamagedFileError, UsageError
from hetconv.files import set_aside, temporary_name
from hetconv.lab.results import Results, Run, StudySettings, VariantCost
from hetconv.lab.study.attempts import RunFolder
from hetconv.records import Circumstances, load_record, save_record

T = TypeVar("T")
LOCK_PATIENCE_S = 600.0
"""The longest that a process waits for another one's turn in the folder: measuring the variants' time takes longest."""


def keep_silent(_: str) -> None:
    """Where nobody wants to hear of what was mended."""


@dataclass(frozen=True)
class Costs:
    """What is kept in costs.json."""

    circumstances: Circumstances
    costs: tuple[VariantCost, ...]


@dataclass(frozen=True)
class Store:
    """One network's folder. `notice` is told of a damaged file that was set aside."""

    folder: Path
    notice: Callable[[str], None] = keep_silent

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def settings(self) -> Path:
        return self.folder / "study.json"

    def open(self, settings: StudySettings) -> StudySettings:
        """Make the folder this study's, or see that it already is; returns all that the study then holds.

        Variants and seeds may be added to a study; the network, the data and the recipe may not change.

        Raises:
            UsageError: the folder holds another study; the message says what differs.
        """
        old = self.check(settings)
        if old is not None:
            settings = replace(
                settings, variants=union(old.variants, settings.variants), seeds=union(old.seeds, settings.seeds)
            )
        if old != settings:
            save_record(settings, self.settings)
        return settings

    def check(self, settings: StudySettings) -> StudySettings | None:
        """What the folder holds of this study, before anything is written there; None if that is nothing yet.

        Raises:
            UsageError: the folder holds another study; the message says what differs.
        """
        old = self.load(StudySettings, self.settings)
        if old is not None:
            _check_same(old, settings, self.folder)
        return old

    @contextmanager
    def locked(self, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
        """Keep other processes out while this one writes what they share; the lock ends with the process.

        Runs need no lock: see `hetconv.lab.study.attempts`.

        Raises:
            UsageError: the folder cannot be written to, or another process keeps it for longer than `patience_s`.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("w")
            _check_links(self.folder / ".lock")
        except FileExistsError as error:
            raise UsageError(f"cannot write to {self.folder}: it is a file; give a folder") from error
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.folder}: {error.strerror}; give another folder, where files may have hard links"
            ) from error
        with lock:
            deadline = time.monotonic() + patience_s
            while not _lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise UsageError(f"{self.folder} is in use by another hetconv; wait for it or give another folder")
                time.sleep(0.05)
            yield

    def run(self, variant: str, seed: int) -> RunFolder:
        return RunFolder(self.folder / "runs" / variant / f"seed-{seed}", self.notice)

    def runs(self, settings: StudySettings) -> tuple[Run, ...]:
        """What every run has found so far; those that have stored nothing yet are left out."""
        folders = (self.run(variant, seed) for variant in settings.variants for seed in settings.seeds)
        found = (folder.ended() or folder.progress() for folder in folders)
        return tuple(run for run in found if run is not None)

    def load_costs(self) -> Costs | None:
        return self.load(Costs, self.folder / "costs.json")

    def save_costs(self, costs: Costs) -> None:
        save_record(costs, self.folder / "costs.json")

    def save_results(self, results: Results) -> None:
        save_record(results, self.folder / "results.json")

    def load_results(self) -> Results:
        """
        Raises:
            UsageError: no study is here.
            DamagedFileError: the file is damaged, or holds a number that is not finite.
        """
        path = self.folder / "results.json"
        if not path.exists():
            raise UsageError(f"looked for {path}; it is not there. `hetconv compare --out {self.folder}` makes one")
        results = load_record(Results, path)
        wrong = _not_finite(asdict(results))
        if wrong is not None:
            raise DamagedFileError(path, f"{wrong} is not a finite number")
        return results

    def load(self, kind: type[T], path: Path) -> T | None:
        """A record; a damaged one is set aside, because everything in it can be found or measured again."""
        if not path.exists():
            return None
        try:
            return load_record(kind, path)
        except DamagedFileError as error:
            set_aside(path)
            self.notice(f"{path} is damaged: {error.why}; set aside as {path.name}.damaged, and made anew")
            return None


def union(old: tuple[T, ...], new: tuple[T, ...]) -> tuple[T, ...]:
    return (*old, *(item for item in new if item not in old))


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_links(path: Path) -> None:
    """Raises OSError where a file cannot have a second name: runs are published so."""
    second = temporary_name(path)
    os.link(path, second)
    second.unlink()


def _not_finite(value: Any, at: str = "") -> str | None:
    """Where a number is infinite or NaN."""
    if isinstance(value, float):
        return None if math.isfinite(value) else at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple | list) else ()
    inside = (_not_finite(item, f"{at}.{key}".lstrip(".")) for key, item in items)
    return next((found for found in inside if found is not None), None)


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
        longer = "; there, --weights with a checkpoint of this one trains it longer" if "epochs" in different else ""
        raise UsageError(f"{folder} holds another study: {changes}. Give another folder with --out{longer}")
