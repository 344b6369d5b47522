"""A worker: does one run after another that nobody does, until every run of the study has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hetconv.lab.results import Run
from hetconv.lab.settings import RunKey
from hetconv.lab.study.attempts import FRUITLESS, Attempt, Renewal, RunFolder, Watcher
from hetconv.lab.study.network_study import NetworkStudy
from hetconv.lab.study.one_run import TakenOverError, do_run
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.study.team import END, WAIT, Team, together

POLL_S = 1.0


@dataclass(frozen=True)
class Worker:
    """One process that works for a study.

    Attributes:
        keys: every run, in the order in which they are begun.
        networks: the study's networks by name.
        done: called with the network's name after each of this worker's runs.
        team: the processes that this one leads, which train each run with it.
    """

    keys: tuple[RunKey, ...]
    networks: Mapping[str, NetworkStudy]
    progress: CompareProgress
    done: Callable[[str], None]
    team: Team = field(default_factory=Team)
    watcher: Watcher = field(default_factory=Watcher)

    @together()
    def work(self) -> None:
        """Do runs until all have ended, waiting for those that other processes do so as to take over if they die.

        Raises:
            HetconvError: the disk is full, …; the run can be gone on with.
        """
        waits = False
        while not all(self._folder(key).has_ended() for key in self.keys):
            found = self._claim()
            if found is not None:
                self._do(*found)
            else:
                if not waits:
                    self.progress.waiting(sum(self._folder(key).is_running() for key in self.keys))
                self.team.share(WAIT)
                time.sleep(POLL_S)
            waits = found is None
        self.team.share(END)

    def _claim(self) -> tuple[RunKey, Attempt] | None:
        """A run that nobody does; None if there is none now, or if all that are left wait for their bases."""
        for key in self.keys:
            if self._waits_for_base(key):
                continue
            attempt = self._folder(key).claim(self.watcher)
            if attempt is not None:
                return key, attempt
        return None

    def _waits_for_base(self, key: RunKey) -> bool:
        """Whether the run that trains this one's network has not ended yet: else both would train it."""
        base = key.base
        return base is not None and base in self.keys and not self._folder(base).has_ended()

    def _do(self, key: RunKey, attempt: Attempt) -> None:
        """Do one run, unless something kills its process every time."""
        deaths = attempt.run.deaths(before=attempt)
        if deaths >= FRUITLESS:
            epochs = len(attempt.progress.epochs)
            why = f"its process died {deaths} times in a row after epoch {epochs}; see what kills it (memory?)"
            kept = attempt.publish(Run(key.variant.spec, key.seed, "failed", (), why))
            self.progress.notice(f"{key}: {why}")
        else:
            self.team.share(key)
            kept = self._train(key, attempt)
        if kept:
            self.done(key.network)
        else:
            self.progress.notice(f"{key}: another process has taken this run over, because this one had seemed dead")

    def _train(self, key: RunKey, attempt: Attempt) -> bool:
        """Whether what was found is the run's result now."""

        def goes_on() -> None:
            if not self.team.share(attempt.owns()):
                raise TakenOverError

        try:
            with Renewal(attempt), together():
                return attempt.publish(do_run(self.networks[key.network], key, attempt, self.progress, goes_on))
        except TakenOverError:
            return False
        except BaseException as error:
            attempt.give_up(" ".join(str(error).split())[:500] or type(error).__name__)
            raise

    def _folder(self, key: RunKey) -> RunFolder:
        return self.networks[key.network].store.run(key.variant.spec, key.seed)
