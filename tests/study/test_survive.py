"""What a study survives: cut files, a full disk, a folder that is not writable, another study in its folder."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hetconv.errors import HetconvError, UsageError
from hetconv.study import compare
from hetconv.study.sqlite import JOURNAL, lasting

from . import tiny
from .tiny import COMPRESSED, EPOCHS, NETWORKS, TINY, CutOffError, Watch, begin_and_cut_off, files, outcome


@pytest.fixture(autouse=True, scope="module")
def _network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, NETWORKS, tiny)
        yield


def undisturbed(comparison: Any, folder: Path) -> Any:
    return outcome(compare(comparison, folder), folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return undisturbed(TINY, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first run has ended, the second was cut off after its second epoch of three."""
    folder = tmp_path_factory.mktemp("interrupted")
    begin_and_cut_off(TINY, folder, EPOCHS + 2)
    return folder


@pytest.fixture
def copy(interrupted: Path, tmp_path: Path) -> Path:
    shutil.copytree(interrupted, tmp_path / "copy")
    return tmp_path / "copy"


def cut(path: Path, keep: float) -> None:
    """Keep this share of a file; of 1, all but the last two bytes."""
    path.write_bytes(path.read_bytes()[: min(int(keep * path.stat().st_size), path.stat().st_size - 2)])


DERIVED = ("results.json",)
ENDED = ("runs/dense/seed-0/checkpoint.safetensors", "runs/dense/seed-0/checkpoint.previous.safetensors")
RECORDS = ("study.json", "costs.json", "study.db", "runs/dense/seed-0/run.json", "runs/het-p4/seed-0/run.json")
LAST, BEFORE = (f"runs/het-p4/seed-0/checkpoint{part}.safetensors" for part in ("", ".previous"))


def test_every_file_that_a_study_writes_is_cut_below(interrupted: Path) -> None:
    assert files(interrupted) == sorted((*DERIVED, *ENDED, *RECORDS, LAST, BEFORE))


HALVES = [(name, 0.5) for name in (*RECORDS, *DERIVED, LAST, BEFORE)]


@pytest.mark.parametrize(("name", "keep"), [*HALVES, *((name, keep) for name in ("study.db", LAST) for keep in (0, 1))])
def test_a_cut_file_is_named_and_the_study_ends_as_ever(copy: Path, trained: Any, name: str, keep: float) -> None:
    cut(copy / name, keep)
    watch = Watch()
    found = compare(TINY, copy, watch)
    assert watch.epochs == ([2, 3] if name == LAST else [3])
    if name in RECORDS:
        assert f"{copy / name} is damaged" in watch.said
        assert (copy / f"{name}.damaged").exists()
    if name == LAST:
        assert f"{copy / name} is damaged" in watch.said
        assert "going on from the checkpoint before it" in watch.said
    assert outcome(found, copy) == trained


def test_all_files_cut_at_once_are_all_named(copy: Path, trained: Any) -> None:
    for name in files(copy):
        cut(copy / name, 0.5)
    watch = Watch()
    found = compare(TINY, copy, watch)
    for name in (*RECORDS, LAST, BEFORE, ENDED[0]):
        assert f"{copy / name} is damaged" in watch.said
    assert "starting this run afresh" in watch.said
    assert watch.epochs == [1, 2, 3, 1, 2, 3]
    assert outcome(found, copy) == trained


def leave_unfinished_change(database: Path) -> Path:
    """Leave a file and its journal as they are while a change is written to the file; returns the journal."""
    journal = database.with_name("study.db-journal")
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA cache_size=1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE trial_user_attributes SET value_json = '\"spoilt\"'")
    connection.execute("CREATE TABLE large AS SELECT randomblob(40000) AS filling")
    unfinished = {path: path.read_bytes() for path in (database, journal)}
    connection.execute("ROLLBACK")
    connection.close()
    assert b"spoilt" in unfinished[database]
    for path, content in unfinished.items():
        path.write_bytes(content)
    return journal


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.001])
def test_a_cut_journal_of_an_unfinished_change_is_named(copy: Path, trained: Any, keep: float) -> None:
    """SQLite itself would take back the part of the change that the journal still holds, and say nothing."""
    journal = leave_unfinished_change(copy / "study.db")
    _, pages, _, _, sector, page = JOURNAL.unpack(journal.read_bytes()[: JOURNAL.size])
    journal.write_bytes(journal.read_bytes()[: int(keep * (sector + pages * (page + 8)))])
    watch = Watch()
    found = compare(TINY, copy, watch)
    assert "study.db is damaged: the journal of an unfinished change is cut short" in watch.said
    assert watch.epochs == [3]
    assert outcome(found, copy) == trained


def test_a_whole_journal_takes_an_unfinished_change_back(copy: Path, trained: Any) -> None:
    leave_unfinished_change(copy / "study.db")
    watch = Watch()
    assert outcome(compare(TINY, copy, watch), copy) == trained
    assert watch.notices == []
