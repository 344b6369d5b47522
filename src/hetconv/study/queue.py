"""The runs of a study on Optuna's storage: which wait, who does which, and what was found.

A trial is one attempt at one run. Of two trials of the same attempt, which two processes may have added at the same
moment, the one with the lower number counts and the other is ignored. An attempt is claimed, finished or given up by
one atomic change of its trial's state. A run is waiting, or being done, or ended, as its last attempt is; when an
attempt was given up or its process died, any process adds the next one. So there is no moment at which a kill loses a
run.

Optuna's own heartbeat is not used: it compares clocks, so that a clock that jumps takes a living process's run away,
and its retry is a second step after the change of state, so that a kill between the two loses the run. Here the heart
beats as a number that grows, and a process that waits takes over a run whose number has not changed for `grace_s` of
its own monotonic clock, or at once where it sees that the process is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from hetconv.errors import HetconvError
from hetconv.models import parse_variant
from hetconv.records import Run, adapter
from hetconv.study.owner import Owner, is_known_dead, this_process

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hetconv.study.storage import Trials

State = Literal["waiting", "running", "done", "failed"]
DIED = "its process died"
GRACE_S = 60.0
LONGEST_LOOK_S = 5.0
FRUITLESS = 10
"""So many attempts in a row that died without a new epoch end a run as failed: something kills it every time."""


@dataclass(frozen=True)
class RunKey:
    """One run of a study."""

    network: str
    variant: str
    seed: int

    def __str__(self) -> str:
        return f"{self.network} {self.variant} seed {self.seed}"

    @property
    def base(self) -> RunKey | None:
        """Of a network that is compressed after training, the run that trains it; None for any other."""
        variant = parse_variant(self.variant)
        return None if variant.method is None else replace(self, variant=variant.base)


@dataclass(frozen=True)
class Claim:
    """An attempt at a run that this process holds."""

    key: RunKey
    trial_id: int
    attempt: int


@dataclass(frozen=True)
class Status:
    """How a run stands. `epochs_done` is what its attempts have reported, `run` what an ended one found."""

    key: RunKey
    state: State
    attempts: int = 0
    epochs_done: int = 0
    owner: Owner | None = None
    run: Run | None = None
    reason: str = ""


@dataclass(frozen=True)
class Attempt:
    """A trial as it counts."""

    trial: FrozenTrial
    key: RunKey
    number: int

    @property
    def trial_id(self) -> int:
        return int(self.trial._trial_id)

    @property
    def state(self) -> str:
        """WAITING, RUNNING, COMPLETE or FAIL."""
        return str(self.trial.state.name)

    @property
    def beat(self) -> int:
        return int(self.trial.user_attrs.get("beat", 0))

    @property
    def reason(self) -> str:
        """Why it was given up."""
        return str(self.trial.user_attrs.get("reason", ""))

    @property
    def epochs_done(self) -> int:
        return int(max(self.trial.intermediate_values, default=0))

    @property
    def owner(self) -> Owner | None:
        found = self.trial.user_attrs.get("owner")
        return None if found is None else Owner(**found)

    @property
    def run(self) -> Run | None:
        text = self.trial.user_attrs.get("run")
        try:
            return None if text is None else adapter(Run).validate_json(text, strict=True)
        except ValidationError as error:
            raise HetconvError(
                f"{self.key}: what the storage holds of it cannot be read ({error.errors()[0]['msg']}); go on with the "
                "version of hetconv that wrote it, or move the study's database away: it is made anew from the records"
            ) from error

    @property
    def ended(self) -> bool:
        """Whether the run needs no further attempt, because it was done or cannot be done."""
        return self.state == "COMPLETE" or (self.state == "FAIL" and "run" in self.trial.user_attrs)


@dataclass(frozen=True)
class Watched:
    """Another process's heart: its last beat, when this process looked last, and for how long it has stood still."""

    beat: int
    looked: float
    still_s: float


class Queue:
    """The runs of one study, seen and changed by one process.

    Args:
        grace_s: how long another machine's heart must stand still until its run is taken over.
        clock: seconds that never jump.
    """

    def __init__(self, trials: Trials, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.trials, self.grace_s, self.clock = trials, grace_s, clock
        self.owner = this_process()
        self.watched: dict[int, Watched] = {}

    def add(self, keys: Iterable[RunKey]) -> None:
        """See to it that each of these runs is there; one that is there already stays as it is."""
        there = self._last()
        for key in keys:
            if key not in there:
                self._attempt(key, 1)

    def add_ended(self, key: RunKey, run: Run) -> None:
        """Record a run that ended elsewhere, unless the study knows better."""
        last = self._last().get(key)
        if last is not None and (last.ended or last.state == "RUNNING"):
            return
        if last is None or last.state != "WAITING":
            last = self._attempt(key, 1 if last is None else last.number + 1)
        claim = self._try(last)
        if claim is not None:
            self.finish(claim, run)

    def retry_failed(self) -> None:
        """Give every failed run another attempt."""
        for key, last in self._last().items():
            if last.ended and last.state == "FAIL":
                self._attempt(key, last.number + 1)

    def claim(self) -> Claim | None:
        """Take a run that nobody does; None if there is none now, or if all that are left wait for their bases."""
        there = self._last()
        for key, last in there.items():
            if _waits_for_base(key, there):
                continue
            if last.state == "RUNNING" and self._is_dead(last):
                self._give_up(last.trial_id, DIED)
                last = self._last()[key]  # it may have ended between our look and our step
            if last.state == "FAIL" and not last.ended:
                if self._is_hopeless(last):
                    continue
                last = self._attempt(key, last.number + 1)
            if last.state == "WAITING":
                claim = self._try(last)
                if claim is not None:
                    return claim
        return None

    def beat(self, claim: Claim, count: int) -> bool:
        """Show that this process still does the run; False if the run was taken from it."""
        return self.trials.set_beat(claim.trial_id, count)

    def reached(self, claim: Claim, epoch: int, accuracy: float) -> bool:
        """Report an epoch; False if the run was taken from this process."""
        return self.trials.set_epoch(claim.trial_id, epoch, accuracy)

    def finish(self, claim: Claim, run: Run) -> bool:
        """Record what a run found, done or failed; False, and nothing recorded, if it was taken from this process."""
        from optuna.trial import TrialState

        text = adapter(Run).dump_json(run).decode()
        if not self.trials.set_attribute(claim.trial_id, "run", text):
            return False
        accuracy = run.accuracy if run.state == "done" else None
        state = TrialState.FAIL if accuracy is None else TrialState.COMPLETE
        if self.trials.set_state(claim.trial_id, state, None if accuracy is None else [accuracy]):
            return True
        # The database may have gone after it recorded this and before it said so; the second try finds it recorded.
        recorded = next(trial for trial in self.trials.all() if trial._trial_id == claim.trial_id)
        return bool(recorded.state == state and recorded.user_attrs.get("run") == text)

    def give_up(self, claim: Claim, reason: str) -> None:
        """Let go of a run that can be gone on with."""
        self._give_up(claim.trial_id, reason)

    def statuses(self) -> dict[RunKey, Status]:
        """Every run, in the order in which they were added."""
        return {key: _status(last) for key, last in self._last().items()}

    def is_ended(self) -> bool:
        return all(last.ended for last in self._last().values())

    def _last(self) -> dict[RunKey, Attempt]:
        """Of each run the attempt that counts."""
        return {key: attempts[-1] for key, attempts in self._attempts().items()}

    def _attempts(self) -> dict[RunKey, list[Attempt]]:
        """Of each run its attempts that count, in order: the first trial of each number."""
        found: dict[RunKey, dict[int, Attempt]] = {}
        for trial in self.trials.all():
            attempt = _attempt_of(trial)
            if attempt is not None:
                found.setdefault(attempt.key, {}).setdefault(attempt.number, attempt)
        return {key: [attempts[number] for number in sorted(attempts)] for key, attempts in found.items()}

    def _attempt(self, key: RunKey, number: int) -> Attempt:
        """Add an attempt; returns the one that counts, which may be another process's."""
        self.trials.add({"network": key.network, "variant": key.variant, "seed": key.seed, "attempt": number})
        return self._last()[key]

    def _is_hopeless(self, last: Attempt) -> bool:
        """Whether something kills this run every time; then it is recorded as failed, with that for a reason."""
        attempts = self._attempts()[last.key]
        recent = attempts[-FRUITLESS:]
        best = max((attempt.epochs_done for attempt in attempts[:-FRUITLESS]), default=0)
        fruitless = all(attempt.reason == DIED and attempt.epochs_done <= best for attempt in recent)
        if len(recent) < FRUITLESS or not fruitless:
            return False
        claim = self._try(self._attempt(last.key, last.number + 1))
        if claim is not None:
            why = f"its process died {FRUITLESS} times in a row after epoch {best}; see what kills it (memory?)"
            self.finish(claim, Run(last.key.variant, last.key.seed, "failed", (), why))
        return True

    def _try(self, attempt: Attempt) -> Claim | None:
        """Claim an attempt, unless another process was faster."""
        from optuna.trial import TrialState

        if not self.trials.set_state(attempt.trial_id, TrialState.RUNNING):
            return None
        self.trials.set_attribute(attempt.trial_id, "owner", self.owner.as_attribute())
        return Claim(attempt.key, attempt.trial_id, attempt.number)

    def _is_dead(self, attempt: Attempt) -> bool:
        """Whether a running attempt's process is gone, or its heart has stood still for the grace time.

        Of the time between two looks only a little counts: a database that was gone, or a machine that slept, must not
        make living processes look dead.
        """
        if attempt.owner is not None and attempt.owner != self.owner and is_known_dead(attempt.owner):
            return True
        now = self.clock()
        before = self.watched.get(attempt.trial_id)
        if before is None or before.beat != attempt.beat:
            self.watched[attempt.trial_id] = Watched(attempt.beat, now, 0.0)
            return False
        still_s = before.still_s + min(now - before.looked, LONGEST_LOOK_S)
        self.watched[attempt.trial_id] = Watched(attempt.beat, now, still_s)
        return still_s > self.grace_s

    def _give_up(self, trial_id: int, reason: str) -> None:
        from optuna.trial import TrialState

        if self.trials.set_attribute(trial_id, "reason", reason):
            self.trials.set_state(trial_id, TrialState.FAIL)


def _attempt_of(trial: FrozenTrial) -> Attempt | None:
    """None for a trial that another program added."""
    told = trial.user_attrs
    if not {"network", "variant", "seed", "attempt"} <= told.keys():
        return None
    return Attempt(trial, RunKey(told["network"], told["variant"], told["seed"]), told["attempt"])


def _waits_for_base(key: RunKey, there: Mapping[RunKey, Attempt]) -> bool:
    """Whether the run that trains this one's network has yet to end, as done or failed: else both would train it."""
    base = key.base
    return base is not None and base in there and not there[base].ended


def _status(last: Attempt) -> Status:
    run = last.run if last.ended else None
    if run is not None:
        ended: State = "done" if run.state == "done" else "failed"
        return Status(last.key, ended, last.number, len(run.epochs), None, run, run.error or "")
    running = last.state == "RUNNING"
    return Status(
        last.key, "running" if running else "waiting", last.number, last.epochs_done, last.owner if running else None,
        None, last.reason,
    )  # fmt: skip
