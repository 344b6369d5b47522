"""Optuna's storage as a study uses it: changes are atomic on SQLite too, and the database may go and come back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from hetconv.errors import HetconvError, UsageError
from hetconv.study.sqlite import TIMEOUT_S, lasting
from hetconv.study.store import keep_silent

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState

T = TypeVar("T")
PATIENCE_S = 600.0
"""How long a database may be gone until a process gives up; what it has trained is in its checkpoint all the same."""
PAUSES_S = (0.5, 1, 2, 4, 8)


def shown_url(url: str) -> str:
    """The address without its password."""
    import re

    return re.sub(r"(?<=://)([^:@/]*):[^@]*@", r"\1:…@", url)


def open_storage(url: str) -> RDBStorage:
    """Open a database, SQLite or PostgreSQL, and make Optuna's tables there if they are missing.

    Raises:
        UsageError: the address is of no known kind, or its driver is not installed.
        HetconvError: the database does not answer, or is another program's.
    """
    import optuna
    from sqlalchemy import event
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_sqlite = url.startswith("sqlite:///")
    if not is_sqlite and not url.startswith(("postgresql://", "postgresql+")):
        raise UsageError(f"storage={shown_url(url)!r} must be postgresql://user@host/database or sqlite:///file")
    options: dict[str, Any] = {"pool_pre_ping": True}
    if is_sqlite:
        options["connect_args"] = {"timeout": TIMEOUT_S}
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        raise UsageError(f"storage={shown_url(url)!r} needs a driver: pip install 'hetconv[cluster]'") from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        why = f"cannot open the storage {shown_url(url)}: {_first_line(error)}"
        mend = lasting(error)
        raise HetconvError(why) if mend is None else mend from error
    if is_sqlite:
        # Optuna reads a trial's state and then writes it. SQLite has no lock on a row, so that without this two
        # processes that read at the same moment would both believe that they claimed the trial.
        storage.engine.dispose()
        event.listen(storage.engine, "connect", _no_implicit_begin)
        event.listen(storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return storage


def _no_implicit_begin(connection: Any, _: Any) -> None:
    connection.isolation_level = None


class Trials:
    """One study's trials.

    Every call but `set_epoch` and `set_beat` waits out a database that is gone for up to `patience_s`.

    A change returns False where the trial had ended, or was claimed, before: another process was faster.
    """

    def __init__(
        self,
        storage: RDBStorage,
        study_id: int,
        notice: Callable[[str], None] = keep_silent,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.storage, self.study_id, self.notice, self.patience_s = storage, study_id, notice, patience_s

    def all(self) -> list[FrozenTrial]:
        """Every trial, in the order of their numbers."""
        found = self._patiently(lambda: self.storage.get_all_trials(self.study_id, deepcopy=False))
        return sorted(found, key=lambda trial: trial.number)

    def add(self, attributes: dict[str, Any]) -> None:
        """Add a trial that waits."""
        from optuna.trial import TrialState, create_trial

        waiting = create_trial(state=TrialState.WAITING, user_attrs=attributes)
        self._patiently(lambda: self.storage.create_new_trial(self.study_id, waiting))

    def set_state(self, trial_id: int, state: TrialState, values: list[float] | None = None) -> bool:
        return self._change(lambda: self.storage.set_trial_state_values(trial_id, state, values))

    def set_attribute(self, trial_id: int, name: str, value: Any) -> bool:
        return self._change(lambda: self.storage.set_trial_user_attr(trial_id, name, value))

    def set_epoch(self, trial_id: int, epoch: int, accuracy: float) -> bool:
        return self._at_once(lambda: self.storage.set_trial_intermediate_value(trial_id, epoch, accuracy))

    def set_beat(self, trial_id: int, count: int) -> bool:
        return self._at_once(lambda: self.storage.set_trial_user_attr(trial_id, "beat", count))

    def _at_once(self, call: Callable[[], None]) -> bool:
        """One attempt, which training needs not wait for: what is told is left out where the database does not answer.

        False only where the trial had ended before.
        """
        from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

        try:
            call()
        except UpdateFinishedTrialError:
            return False
        except StorageInternalError:
            return True
        return True

    def _change(self, call: Callable[[], bool | None]) -> bool:
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            return self._patiently(call) is not False
        except UpdateFinishedTrialError:
            return False

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, self.notice, self.patience_s)


def patiently(call: Callable[[], T], notice: Callable[[str], None], patience_s: float = PATIENCE_S) -> T:
    """Call the database until it answers.

    Raises:
        HetconvError: it did not within `patience_s` seconds, or says what no waiting mends, as that the disk is full.
    """
    from optuna.exceptions import StorageInternalError

    begin, tries = time.monotonic(), 0
    while True:
        try:
            found = call()
        except StorageInternalError as error:
            mend = lasting(error)
            if mend is not None:
                raise mend from error
            why = _first_line(error if error.__cause__ is None else error.__cause__)
            if time.monotonic() - begin > patience_s:
                raise HetconvError(
                    f"the database did not answer for {patience_s:.0f} s ({why}); nothing is lost, run again"
                ) from error
            if tries == 0:
                notice(f"the database does not answer ({why}); trying again for {patience_s:.0f} s")
            time.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
            tries += 1
        else:
            if tries:
                notice(f"the database answers again after {time.monotonic() - begin:.0f} s")
            return found


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
