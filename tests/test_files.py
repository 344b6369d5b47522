"""Files that are written whole or not at all: what a full disk, a forbidden folder or Ctrl-C leaves behind."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hetconv.errors import HetconvError
from hetconv.files import remove_leftovers, write_atomically


def fail_with(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(b"old")
    return path


def only(path, content):
    return [file.name for file in path.parent.iterdir()] == [path.name] and path.read_bytes() == content


def test_writes_and_replaces(old):
    write_atomically(old, b"new")
    assert only(old, b"new")


def test_makes_the_folder(tmp_path):
    path = tmp_path / "a" / "b" / "results.json"
    write_atomically(path, b"")
    assert only(path, b"")


def test_readers_never_meet_half_a_file(old, monkeypatch):
    """Until the new content is flushed to the disk, the old one stands; then the folder is, for the renaming."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(old.read_bytes()))
    write_atomically(old, b"new")
    assert seen == [b"old", b"new"]


@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [
        (os, "fsync", errno.ENOSPC),
        (Path, "open", errno.EACCES),
        (Path, "open", errno.EROFS),
        (Path, "replace", errno.EIO),
        (Path, "mkdir", errno.EACCES),
    ],
)
def test_failure_leaves_the_old_file_and_nothing_else(old, monkeypatch, owner, name, code):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail_with(code))
        with pytest.raises(HetconvError) as caught:
            write_atomically(old, b"new")
    mend = {errno.ENOSPC: "make room", errno.EIO: "mend that"}.get(code, "make the folder writable")
    expected = f"cannot write {old}: {os.strerror(code)}; nothing is lost; {mend}, run again"
    assert str(caught.value) == expected
    assert only(old, b"old")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(old, monkeypatch):
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: opened(Path("/dev/full"), mode))
    with pytest.raises(HetconvError, match="No space left on device"):
        write_atomically(old, b"new")
    monkeypatch.undo()
    assert only(old, b"old")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_forbidden_folder(old):
    old.parent.chmod(0o500)
    try:
        with pytest.raises(HetconvError, match="Permission denied"):
            write_atomically(old, b"new")
    finally:
        old.parent.chmod(0o700)
    assert only(old, b"old")


def test_a_file_where_the_folder_should_be(old):
    with pytest.raises(HetconvError, match=r"^cannot write .*results\.json/new\.json: "):
        write_atomically(old / "new.json", b"new")
    assert only(old, b"old")


def test_interruption_leaves_no_temporary_file(old, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(old, b"new")
    assert only(old, b"old")


WRITER = """
import os, sys, time
from pathlib import Path
from hetconv.files import write_atomically
os.fsync = lambda _: (print("writing", flush=True), time.sleep(100))
write_atomically(Path(sys.argv[1]), b"new")
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(old):
    """However long ago the living one has written to it."""
    with subprocess.Popen([sys.executable, "-c", WRITER, old], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        (left,) = old.parent.glob(".*.tmp")
        os.utime(left, (0, 0))
        remove_leftovers(old.parent.parent)
        assert left.exists()
        writer.send_signal(signal.SIGKILL)
    remove_leftovers(old.parent.parent)
    assert only(old, b"old")


def test_what_is_new_or_of_others_is_not_removed(old):
    """A lock may not be seen from another machine, so that what is new may be another one's."""
    new, others = old.with_name(f".{old.name}.{'0' * 16}.tmp"), old.with_name(".of-another-program.tmp")
    new.touch()
    others.touch()
    os.utime(others, (0, 0))
    remove_leftovers(old.parent)
    assert new.exists()
    assert others.exists()
