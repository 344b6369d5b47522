"""The SQLite file of a study: set aside where it is damaged, and what its errors ask of the user."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

from hetconv.errors import HetconvError
from hetconv.files import set_aside

TIMEOUT_S = 30
"""How long SQLite itself waits for another process's change."""
WRITABLE = "make the folder writable"
MENDS = {
    sqlite3.SQLITE_FULL: "make room",
    sqlite3.SQLITE_READONLY: WRITABLE,
    sqlite3.SQLITE_CANTOPEN: WRITABLE,
    sqlite3.SQLITE_PERM: WRITABLE,
    sqlite3.SQLITE_IOERR: "mend that",
}
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
JOURNAL = struct.Struct(">8s5I")
"""How a rollback journal begins: its mark, pages kept in it, a nonce, the file's pages, and the sizes of a sector and a
page. https://sqlite.org/fileformat.html#the_rollback_journal"""
JOURNAL_MARK = bytes.fromhex("d9d505f920a163d7")


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"


def mend_sqlite(path: Path, notice: Callable[[str], None]) -> None:
    """Set a damaged file aside, with the journal of its unfinished change: all that it says of finished runs is in
    their own records too.

    Raises:
        HetconvError: the file cannot be read, or not be set aside.
    """
    if not path.exists():
        return
    journal = path.with_name(f"{path.name}-journal")
    why = "the journal of an unfinished change is cut short" if _is_cut(journal) else _damage(path)
    if why is None:
        return
    set_aside(path)
    if journal.exists():
        set_aside(journal)
    notice(f"{path} is damaged: {why}; set aside as {path.name}.damaged, and made anew from the runs' records")


def lasting(error: BaseException) -> HetconvError | None:
    """What a user must mend, in one line; None where the cause is none of SQLite's, or may pass by itself because
    another process keeps the file at this moment."""
    found = _cause(error)
    if found is None:
        return None
    kind = getattr(found, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if kind in DAMAGED:
        return HetconvError(
            f"the study's database is damaged ({found}); nothing is lost; run again: it is made anew from the runs' "
            "records"
        )
    if kind not in MENDS:
        return None
    return HetconvError(f"cannot write the study's database: {found}; nothing is lost; {MENDS[kind]}, run again")


def _cause(error: BaseException | None) -> sqlite3.Error | None:
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__
    return error


def _damage(path: Path) -> str | None:
    """What is wrong with the file; None if nothing is."""
    try:
        connection = sqlite3.connect(path, timeout=TIMEOUT_S)
        try:
            found = str(connection.execute("PRAGMA quick_check").fetchone()[0])
            size = connection.execute("PRAGMA page_size").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise HetconvError(f"cannot read {path}: {error}; nothing is lost; mend that, run again") from error
    except sqlite3.DatabaseError as error:
        return str(error)
    if found != "ok":
        return " ".join(found.split())
    if path.stat().st_size % size:
        return "its last page is cut short"  # which SQLite itself reads as if it ended in zeros
    return None if tables else "it is empty"


def _is_cut(journal: Path) -> bool:
    """Whether a journal holds fewer pages than it says; SQLite would take back only a part of the change.

    A process that writes one now says how many pages there are only after it has written them.
    """
    try:
        with journal.open("rb") as file:
            begin = file.read(JOURNAL.size)
            size = file.seek(0, 2)
    except OSError:
        return False
    if not begin or begin[0] == 0:
        return False  # SQLite heeds no such journal: its change had not begun in the file, or had ended
    if len(begin) < JOURNAL.size or not begin.startswith(JOURNAL_MARK):
        return True
    _, pages, _, _, sector, page = JOURNAL.unpack(begin)
    return bool(pages != 0xFFFFFFFF and size < sector + pages * (page + 8))
