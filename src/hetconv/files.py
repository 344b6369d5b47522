"""Files that are written whole or not at all, and known to be writable before work begins; and what cannot be read."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hetconv.errors import HetconvError, UsageError

FOLDER = "make the folder writable"
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
LEFT_S = 600.0
"""What nobody has written to for so long may be left over."""
MENDS = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EACCES: FOLDER, errno.EROFS: FOLDER}


def check_output(path: Path, *inputs: Path) -> None:
    """See that a file can be written to `path`, before the work begins whose result it will hold.

    Args:
        inputs: files that are read for it, none of which may be replaced.

    Raises:
        UsageError: it is no regular file, it is one of the inputs, or its folder cannot be written to.
    """
    reason = why_not_file(path) or why_not_folder(path.parent)
    if reason is None and any(_is_same(path, read) for read in inputs):
        reason = "it is read for it; give the result a name of its own"
    if reason is not None:
        raise UsageError(f"cannot write {str(path)!r}: {reason}")


def check_output_folder(folder: Path, *names: str) -> None:
    """See that files of these names can be written into a folder, which need not be there yet.

    Raises:
        UsageError: as `check_output`.
    """
    reason = why_not_folder(folder)
    if reason is not None:
        raise UsageError(f"cannot write to {str(folder)!r}: {reason}")
    for name in names:
        check_output(folder / name)


def why_not_file(path: Path) -> str | None:
    """Why no file can be written to `path`: what is there may not be replaced; None where nothing or a file is."""
    try:
        if path.name:
            _lstat(temporary_name(path))  # which has the longer name
        found = _lstat(path)
    except (OSError, ValueError) as error:
        return f"it is no usable path ({getattr(error, 'strerror', None) or error}); give another one"
    if found is None or stat.S_ISREG(found.st_mode):
        return None
    if stat.S_ISLNK(found.st_mode):
        return f"it is a link to {os.readlink(path)}; give the file itself"
    return f"it is a {'folder' if stat.S_ISDIR(found.st_mode) else 'device, pipe or socket'}; give a file"


def why_not_folder(folder: Path) -> str | None:
    """Why nothing can be written into a folder, or the folder not be made; None if it can. Nothing is left there."""
    existing = folder.absolute()
    try:
        while _lstat(existing) is None:
            existing = existing.parent
        if not existing.is_dir():
            return f"{str(existing)!r} is no folder; give another one"
        with tempfile.TemporaryFile(dir=existing):
            return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"nothing can be written into {str(existing)!r} ({reason}); {FOLDER} or give another one"


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return path.absolute() == other.absolute()


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk and rename it over `path`: a reader, a crash or a full disk
    never meets half a file.

    Raises:
        HetconvError: the disk is full, the folder cannot be written to, or what stands at `path` is no regular file;
            it is untouched.
    """
    reason = why_not_file(path)
    if reason is not None:
        raise HetconvError(f"cannot write {path}: {reason}")
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            _lock(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> HetconvError:
    """What a user must do so that `path` can be written, in one line."""
    mend = MENDS.get(error.errno or 0, "mend that")
    return HetconvError(f"cannot write {path}: {error.strerror}; nothing is lost; {mend}, run again")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around reading a file. What the system refuses to read is not damaged: nobody has seen what is in it.

    Raises:
        HetconvError: the file cannot be read.
    """
    try:
        yield
    except OSError as error:
        mend = (
            "make it readable" if error.errno in (errno.EACCES, errno.EPERM) else "see that its disk works, run again"
        )
        raise HetconvError(f"cannot read {path}: {error.strerror or error}; {mend}") from error


def temporary_name(path: Path) -> Path:
    """Beside `path`, what is written before it is renamed to that: no other process has it, of any machine."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def remove_leftovers(folder: Path) -> None:
    """Remove from a folder and those in it what killed processes left of files that they were writing.

    What a living process writes is locked by it, or was written to in the last ten minutes: machines that share a
    folder may not see each other's locks.
    """
    for path in folder.rglob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name) is None:
            continue
        with contextlib.suppress(OSError), path.open("r+b") as file:  # another process may have been faster
            if time.time() - os.fstat(file.fileno()).st_mtime > LEFT_S and _lock(file.fileno()):
                path.unlink()


def _lock(descriptor: int) -> bool:
    """Keep an open file for this process; False where another one has it, or the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def set_aside(path: Path) -> None:
    """Move a damaged file out of the way without losing it.

    Raises:
        HetconvError: the folder cannot be written to.
    """
    try:
        path.replace(path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        raise HetconvError(
            f"{path} is damaged, and cannot be set aside: {error.strerror}; nothing is lost; {FOLDER}, run again"
        ) from error


def flush_folder(folder: Path) -> None:
    """Bring a renaming to the disk, so that a power cut does not undo it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
