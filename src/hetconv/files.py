"""Files that are written whole or not at all."""

import contextlib
import errno
import os
from pathlib import Path

from hetconv.errors import HetconvError

FOLDER = "make the folder writable"
MENDS = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EACCES: FOLDER, errno.EROFS: FOLDER}


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk and rename it over `path`: a reader, a crash or a full disk
    never meets half a file.

    Raises:
        HetconvError: the disk is full, or the folder cannot be written to; what stood at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        mend = MENDS.get(error.errno or 0, "mend that")
        raise HetconvError(f"cannot write {path}: {error.strerror}; nothing is lost; {mend}, run again") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


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


def _flush_folder(folder: Path) -> None:
    """Bring a renaming to the disk, so that a power cut does not undo it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
