import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hetconv.errors import HetconvError, UsageError
from hetconv.study import storage
from hetconv.study.sqlite import mend_sqlite, sqlite_url
from hetconv.study.storage import Trials, open_storage, patiently, shown_url


def test_a_database_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAUSES_S", (0.01,))
    tries: list[int] = []
    notices: list[str] = []

    def call() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise StorageInternalError("gone") from OSError("connection refused")
        return "here"

    assert patiently(call, notices.append) == "here"
    assert len(tries) == 4
    assert notices[0] == "the database does not answer (connection refused); trying again for 600 s"
    assert notices[1].startswith("the database answers again after")


def test_a_database_that_stays_away_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAUSES_S", (0.01,))

    def call() -> None:
        raise StorageInternalError("gone\nfor good")

    with pytest.raises(HetconvError, match=r"did not answer for 0 s \(gone\); nothing is lost, run again"):
        patiently(call, lambda _: None, patience_s=0.05)


def test_training_waits_for_no_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it has to tell is left out while another program keeps the database."""
    monkeypatch.setattr(storage, "TIMEOUT_S", 0.01)
    opened = open_storage(sqlite_url(tmp_path / "study.db"))
    trials = Trials(opened, opened.create_new_study([StudyDirection.MAXIMIZE], "test"), patience_s=0)
    trials.add({})
    number = trials.all()[0]._trial_id
    assert trials.set_state(number, TrialState.RUNNING)
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as keeper:
        keeper.execute("BEGIN IMMEDIATE")
        assert trials.set_epoch(number, 1, 0.5)
        assert trials.set_beat(number, 1)
    assert trials.all()[0].intermediate_values == {}
    assert trials.set_epoch(number, 2, 0.75)
    assert trials.all()[0].intermediate_values == {2: 0.75}
    assert trials.set_state(number, TrialState.FAIL)
    assert not trials.set_epoch(number, 3, 0.75)


def full(path: Path) -> sqlite3.Error:
    """What SQLite says when the disk is full."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE a (b); PRAGMA max_page_count = 3")
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute("INSERT INTO a VALUES (randomblob(100000))")
        return caught.value


def damaged(path: Path) -> sqlite3.Error:
    path.write_bytes(bytes(8192))
    with contextlib.closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute("SELECT * FROM sqlite_master")
    return caught.value


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (full, "cannot write the study's database: database or disk is full; nothing is lost; make room, run again"),
        (damaged, "the study's database is damaged (file is not a database); nothing is lost; run again: it is made "
         "anew from the runs' records"),
    ],
)  # fmt: skip
def test_what_no_waiting_mends_ends_at_once(
    tmp_path: Path, spoil: Callable[[Path], sqlite3.Error], message: str
) -> None:
    def call() -> None:
        raise StorageInternalError("an exception is raised during the commit") from spoil(tmp_path / "a.db")

    with pytest.raises(HetconvError) as caught:
        patiently(call, lambda text: pytest.fail(text))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/x", "must be postgresql://user@host/database or sqlite:///file"),
        ("runs/study.db", "must be postgresql://"),
        ("postgresql+nodriver://user:secret@host/x", "needs a driver|cannot open the storage"),
        ("postgresql://user:secret@127.0.0.1:1/x", "cannot open the storage"),
    ],
)
def test_wrong_addresses_are_one_line_without_the_password(url: str, message: str) -> None:
    with pytest.raises((UsageError, HetconvError), match=message) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert shown_url("postgresql://me:secret@host/db") == "postgresql://me:…@host/db"
    assert shown_url("postgresql://me@host/db") == "postgresql://me@host/db"


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[:5000], lambda b: b[:4096] + bytes(len(b) - 4096)])
def test_a_damaged_file_is_set_aside(tmp_path: Path, spoil) -> None:
    path = tmp_path / "study.db"
    open_storage(sqlite_url(path))
    path.write_bytes(spoil(path.read_bytes()))
    notices: list[str] = []
    mend_sqlite(path, notices.append)
    assert f"{path} is damaged" in notices[0]
    assert (tmp_path / "study.db.damaged").exists()
    open_storage(sqlite_url(path))
    mend_sqlite(path, notices.append)
    assert len(notices) == 1


def test_a_whole_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE a (b)")
    mend_sqlite(path, lambda text: pytest.fail(text))
    assert path.exists()
