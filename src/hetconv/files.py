"""Files that are written whole or not at all."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from pathlib import Path

from hetconv.errors import HetconvError

FOLDER = "make the folder writable"
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
LEFT_S = 600.0
"""What nobody has written to for so long may be left over."""
MENDS = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EACCES: FOLDER, errno.EROFS: FOLDER}


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk and rename it over `path`: a reader, a crash or a full disk
    never meets half a file.

    Raises:
        HetconvError: the disk is full, or the folder cannot be written to; what stood at `path` is untouched.
    """
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
