"""A worker: takes one run after another from a study's queue and does it, until every run has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hetconv.errors import HetconvError
from hetconv.records import Epoch
from hetconv.study.comparison import Comparison
from hetconv.study.heart import BEAT_S, Heart
from hetconv.study.one_run import TakenOverError, Watcher, do_run
from hetconv.study.progress import CompareProgress
from hetconv.study.queue import Claim, Queue
from hetconv.study.store import Store
from hetconv.study.team import END, WAIT, Team, together
from hetconv.train import Data

POLL_S = 1.0


@dataclass(frozen=True)
class Part:
    """One network of a study: what is trained, on what, and where it is kept."""

    comparison: Comparison
    data: Data
    store: Store


@together()
def work(
    queue: Queue,
    parts: dict[str, Part],
    progress: CompareProgress,
    done: Callable[[str], None],
    *,
    poll_s: float = POLL_S,
    beat_s: float = BEAT_S,
    team: Team | None = None,
) -> None:
    """Do runs until all have ended, waiting for those that other processes do so as to take over if they die.

    Args:
        parts: the study's networks by name.
        done: called with the network's name after each of this worker's runs.
        team: the processes that this one leads, which train each run with it.

    Raises:
        HetconvError: the disk is full, the database is gone for too long, …; the run can be gone on with.
    """
    team = Team() if team is None else team
    waits = False
    while True:
        claim = queue.claim()
        if claim is not None:
            waits = False
            team.share(claim.key)
            if _do(queue, claim, parts[claim.key.network], progress, beat_s, team):
                done(claim.key.network)
        elif queue.is_ended():
            team.share(END)
            return
        else:
            if not waits:
                progress.waiting(sum(status.state == "running" for status in queue.statuses().values()))
            waits = True
            team.share(WAIT)
            time.sleep(poll_s)


def _do(queue: Queue, claim: Claim, part: Part, progress: CompareProgress, beat_s: float, team: Team) -> bool:
    """Do one run; False if another process took it over, because this one had seemed dead."""
    key = claim.key
    try:
        with Heart(queue, claim, beat_s) as heart, together():

            def reached(found: Epoch) -> None:
                if not queue.reached(claim, found.epoch, found.accuracy):
                    heart.lost.set()

            def goes_on() -> None:
                if not team.share(not heart.lost.is_set()):
                    raise TakenOverError

            watcher = Watcher(reached, goes_on)
            run = do_run(part.comparison, part.data, part.store, key.variant, key.seed, progress, watcher)
            kept = queue.finish(claim, run)
    except TakenOverError:
        kept = False
    except BaseException as error:
        _let_go(queue, claim, error)
        raise
    if not kept:
        progress.notice(f"{key}: another process has taken this run over, because this one had seemed dead")
        return False
    part.store.save_run(run)
    return True


def _let_go(queue: Queue, claim: Claim, error: BaseException) -> None:
    """Give a run back on the way out; where that cannot be written, it is taken over as a dead process's run is."""
    try:
        queue.give_up(claim, " ".join(str(error).split())[:500] or type(error).__name__)
    except HetconvError:
        return
