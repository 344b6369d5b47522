"""The folder of one run, and the attempts at it: who may store, where an attempt goes on from, whose result counts.

runs/<variant>/seed-<n>/run.json        the record of the ended run
runs/<variant>/seed-<n>/*.safetensors   its weights
runs/<variant>/seed-<n>/attempts/<k>/   an attempt: lease.json, its own run.json so far, its own checkpoints

A process begins attempt k by renaming a prepared folder to attempts/<k>, which only one process can do. The folder
starts with links to the checkpoints of the attempt before it, and its process writes nowhere else. The owner renews the
lease by its time of change; when a lease is not renewed, or its process is seen to be gone, any process may begin
attempt k + 1. An attempt publishes its result by linking its record to run.json, which only the first can do. So a
process that stood still while another one took over can neither disturb nor replace what the other one does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from hetconv.errors import DamagedFileError, HetconvError
from hetconv.files import cannot_write, flush_folder, set_aside, temporary_name
from hetconv.lab.results import Run
from hetconv.lab.study.owner import Owner, is_known_dead, this_process
from hetconv.records import Record, adapter, load_record, save_record

RECORD, LEASE, REASON = "run.json", "lease.json", "reason.txt"
TENSORS = "*.safetensors"
RENEW_S = 10.0
GRACE_S = 60.0
"""A lease that was not renewed for so long may be taken over."""
LONGEST_LOOK_S = 5.0
"""Of the time between two looks at a lease no more counts: a watcher that slept must not believe that the owner did."""
FRUITLESS = 10
"""So many attempts in a row that died without a new epoch end a run as failed: something kills it every time."""


@dataclass(frozen=True)
class Lease(Record):
    """Who owns an attempt; `token` tells apart two attempts that had the same number at different times."""

    owner: Owner
    token: str


@dataclass(frozen=True)
class Watched:
    """A lease's time of change, when this process looked at it last, and for how long it has stood still."""

    changed: int
    looked: float
    still_s: float


class Watcher:
    """Finds out which attempts nobody does any more.

    Two clocks are never compared: a lease must stand still for `grace_s` of this process's own steady clock.
    """

    def __init__(self, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace_s, self.clock = grace_s, clock
        self.watched: dict[Path, Watched] = {}

    def is_abandoned(self, attempt: Attempt) -> bool:
        """Whether the attempt's owner gave it up, is seen to be gone, or has not renewed its lease for too long."""
        lease = attempt.folder / LEASE
        try:
            changed = lease.stat().st_mtime_ns
        except OSError:
            return True
        owner = attempt.owner
        if owner is not None and is_known_dead(owner):
            return True
        now, before = self.clock(), self.watched.get(lease)
        if before is None or before.changed != changed:
            self.watched[lease] = Watched(changed, now, 0.0)
            return False
        still_s = before.still_s + min(now - before.looked, LONGEST_LOOK_S)
        self.watched[lease] = Watched(changed, now, still_s)
        return still_s > self.grace_s


@dataclass(frozen=True)
class RunFolder:
    """runs/<variant>/seed-<n>. `notice` is told of a damaged record that was set aside."""

    path: Path
    notice: Callable[[str], None]

    @property
    def record(self) -> Path:
        return self.path / RECORD

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    def has_ended(self) -> bool:
        return self.record.exists()

    def ended(self) -> Run | None:
        """The record of the ended run; None if it has not ended, or its record was damaged and is set aside now."""
        if not self.has_ended():
            return None
        try:
            run = load_record(Run, self.record)
            if run.state != "running":
                return run
            why = "it is the record of a run that has not ended"
        except DamagedFileError as error:
            why = error.why
        set_aside(self.record)
        self.notice(f"{self.record} is damaged: {why}; set aside as {RECORD}.damaged, and the run is done again")
        return None

    def progress(self) -> Run | None:
        """What the attempts at a run that has not ended have stored; None if that is nothing yet."""
        attempts = self.attempts()
        run = attempts[-1].progress if attempts else None
        return replace(run, state="running") if run is not None and run.epochs else None

    def attempts(self) -> list[Attempt]:
        """All that were begun, in order; none of a run that has ended."""
        folder = self.path / "attempts"
        numbers = sorted(int(entry.name) for entry in folder.glob("[0-9]*") if entry.name.isdigit())
        return [Attempt(self, number) for number in numbers]

    def claim(self, watcher: Watcher) -> Attempt | None:
        """Begin the next attempt; None if the run has ended or another process does it.

        Raises:
            HetconvError: the folder cannot be written to.
        """
        if self.has_ended():
            return None
        attempts = self.attempts()
        if attempts and not watcher.is_abandoned(attempts[-1]):
            return None
        begun = self._begin(attempts[-1] if attempts else None)
        if begun is None or not self.has_ended():
            return begun
        shutil.rmtree(begun.folder, ignore_errors=True)  # it was published between the two looks
        return None

    def is_running(self) -> bool:
        attempts = self.attempts()
        return not self.has_ended() and bool(attempts) and attempts[-1].owner is not None

    def deaths(self, before: Attempt) -> int:
        """How many of the attempts before this one died in a row without a new epoch."""
        attempts = self.attempts()[: before.number - 1]
        epochs = [0, *(len(attempt.progress.epochs) for attempt in attempts)]
        count = 0
        for attempt, at_begin, at_end in zip(attempts[::-1], epochs[-2::-1], epochs[:0:-1], strict=True):
            if attempt.owner is None or at_end > at_begin:
                break
            count += 1
        return count

    def settle(self) -> None:
        """Move the weights of the attempt that was published to the run's folder, and remove all attempts.

        The process that published does so; if it was killed meanwhile, any other.
        """
        attempts = self.attempts()
        if not attempts or not self.has_ended():
            return
        published = self.record.read_bytes()
        for attempt in attempts:
            if attempt.has_record(published):
                for path in attempt.folder.glob(f"{TENSORS}*"):
                    with contextlib.suppress(FileNotFoundError):  # another process settles too
                        path.replace(self.path / path.name)
        shutil.rmtree(self.path / "attempts", ignore_errors=True)

    def reopen(self) -> None:
        """Let an ended run be done again, from its last checkpoint where that is whole; its record is kept beside."""
        with contextlib.suppress(FileNotFoundError):
            self.record.replace(self.record.with_name(f"{RECORD}.before"))

    def _begin(self, last: Attempt | None) -> Attempt | None:
        """Make the folder of the attempt after `last`; None if another process was faster, or has ended the run."""
        begun = Attempt(self, 1 if last is None else last.number + 1, secrets.token_hex(8))
        prepared = temporary_name(begun.folder)
        try:
            prepared.mkdir(parents=True)
            for path in self._state(last):
                os.link(path, prepared / path.name)
            lease = adapter(Lease).dump_json(Lease(this_process(), begun.token))
            (prepared / LEASE).write_bytes(lease)
            prepared.rename(begun.folder)
            flush_folder(begun.folder.parent)
        except OSError as error:
            shutil.rmtree(prepared, ignore_errors=True)
            overtaken = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            removed = error.errno == errno.ENOENT and self.has_ended()  # with all attempts, by who settled it
            if overtaken or removed:
                return None
            raise cannot_write(begun.folder, error) from error
        for path in [] if last is None else last.folder.glob(TENSORS):
            with contextlib.suppress(OSError):
                path.unlink()  # the new attempt has them
        return begun

    def _state(self, last: Attempt | None) -> list[Path]:
        """What the next attempt goes on from."""
        if last is None:
            return sorted(self.path.glob(TENSORS))
        return sorted([*last.folder.glob(TENSORS), *last.folder.glob(RECORD)])


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run. Only the process that began it has its `token`."""

    run: RunFolder
    number: int
    token: str = ""

    @property
    def folder(self) -> Path:
        return self.run.path / "attempts" / str(self.number)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def owner(self) -> Owner | None:
        """None if it was given up, or its lease was damaged."""
        lease = self._lease()
        return None if lease is None else lease.owner

    @property
    def reason(self) -> str:
        """Why it was given up."""
        try:
            return (self.folder / REASON).read_text(encoding="utf-8")
        except OSError:
            return ""

    @cached_property
    def progress(self) -> Run:
        """What it and those before it have stored, when this was first asked."""
        try:
            return load_record(Run, self.folder / RECORD)
        except HetconvError:
            return Run("", 0, "running")

    def owns(self) -> bool:
        """Whether this process may still store: no other process has taken the run over or ended it."""
        lease = self._lease()
        later = self.folder.with_name(str(self.number + 1))
        return lease is not None and lease.token == self.token and not later.exists() and not self.run.has_ended()

    def renew(self) -> bool:
        """Show that this process still does the run; False if the run was taken from it."""
        if not self.owns():
            return False
        with contextlib.suppress(OSError):  # a disk that is gone for a moment
            os.utime(self.folder / LEASE)
        return True

    def publish(self, run: Run) -> bool:
        """Make this the run's result; False, and nothing is changed, if the run was taken from this process.

        Raises:
            HetconvError: the folder cannot be written to.
        """
        if not self.owns():
            return False
        save_record(run, self.folder / RECORD)
        try:
            os.link(self.folder / RECORD, self.run.record)
            flush_folder(self.run.path)
        except FileExistsError:
            return False
        except OSError as error:
            raise cannot_write(self.run.record, error) from error
        self.run.settle()
        return True

    def give_up(self, reason: str) -> None:
        """Let go of a run that can be gone on with. Where that cannot be written, it is taken over like a dead
        process's run."""
        if not self.owns():
            return
        with contextlib.suppress(OSError):
            (self.folder / REASON).write_text(reason, encoding="utf-8")
        with contextlib.suppress(OSError):
            (self.folder / LEASE).unlink()

    def has_record(self, published: bytes) -> bool:
        try:
            return (self.folder / RECORD).read_bytes() == published
        except OSError:
            return False

    def _lease(self) -> Lease | None:
        try:
            return adapter(Lease).validate_json((self.folder / LEASE).read_bytes())
        except (OSError, ValueError):
            return None


class Renewal:
    """Renews an attempt's lease in a thread of its own for as long as the run is done; a context manager."""

    def __init__(self, attempt: Attempt, every_s: float = RENEW_S) -> None:
        self.attempt, self.every_s = attempt, every_s
        self._stop = Event()
        self._thread = Thread(target=self._renew, name=f"lease of {attempt.folder}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._stop.wait(self.every_s) and self.attempt.renew():
            pass
