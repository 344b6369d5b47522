"""Files that are written whole or not at all: what a full disk, a forbidden folder or Ctrl-C leaves behind."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hetconv.errors import HetconvError, UsageError
from hetconv.files import check_output, check_output_folder, remove_leftovers, write_atomically


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


def device(folder):
    path = folder / "device"
    os.mkfifo(path)
    return path


def link(folder):
    (folder / "target").write_bytes(b"kept")
    path = folder / "link"
    path.symlink_to(folder / "target")
    return path


def dangling(folder):
    path = folder / "link"
    path.symlink_to(folder / "nothing")
    return path


UNUSABLE = {
    "a pipe": (device, "is a device, pipe or socket; give a file"),
    "the null device": (lambda _: Path("/dev/null"), "is a device, pipe or socket; give a file"),
    "a link": (link, "is a link to"),
    "a link to nothing": (dangling, "is a link to"),
    "a folder": (lambda folder: folder, "is a folder; give a file"),
    "nothing": (lambda _: Path(""), "is a folder; give a file"),
    "a long name": (lambda folder: folder / ("x" * 250), "is no usable path (File name too long)"),
    "a name with zeros": (lambda folder: folder / "a\0b", "is no usable path"),
    "a file's child": (lambda folder: link(folder).with_name("target") / "x", "target' is no folder; give another one"),
    "a file's grandchild": (
        lambda folder: link(folder).with_name("target") / "x" / "y",
        "target' is no folder; give another one",
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_only_regular_files_are_replaced(tmp_path, kind):
    """Neither before work begins nor when it has ended."""
    make, message = UNUSABLE[kind]
    path = make(tmp_path)
    before = sorted((file.name, file.lstat().st_mode) for file in tmp_path.iterdir())
    with pytest.raises(UsageError) as caught:
        check_output(path)
    assert message in str(caught.value)
    with pytest.raises(HetconvError, match=r"^cannot write "):
        write_atomically(path, b"new")
    assert sorted((file.name, file.lstat().st_mode) for file in tmp_path.iterdir()) == before


def test_an_output_that_can_be_written_leaves_nothing(tmp_path, old):
    for path in (old, tmp_path / "new", tmp_path / "a" / "b" / "new", Path("new")):
        check_output(path)
    check_output_folder(tmp_path / "c" / "d", "a.json", "b.png")
    assert [file.name for file in tmp_path.iterdir()] == [old.name]


def test_an_input_is_never_an_output(tmp_path, old, monkeypatch):
    same = tmp_path / "same"
    os.link(old, same)
    monkeypatch.chdir(tmp_path)
    for other in (old, tmp_path / "." / old.name, Path(old.name), same):
        with pytest.raises(UsageError, match="is read for it; give the result a name of its own"):
            check_output(old, tmp_path / "another", other)
    check_output(tmp_path / "new", old)


def test_a_folder_that_cannot_hold_results(tmp_path, old):
    for folder, message in (
        (old, "results.json' is no folder; give another one"),
        (old / "a" / "b", "a/b': '.*results.json' is no folder; give another one"),
        (Path("/proc/nothing/here"), "nothing can be written into '/proc'"),
    ):
        with pytest.raises(UsageError, match=message):
            check_output_folder(folder)
    (tmp_path / "b.json").mkdir()
    with pytest.raises(UsageError, match=r"cannot write '.*b\.json': it is a folder"):
        check_output_folder(tmp_path, "a.json", "b.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.json", "results.json"]
