"""What lies in a folder of tar shards: how many images each holds, and of how many classes.

A shard is a tar file in the convention of webdataset: an image `<key>.jpg` (or another suffix of `IMAGES`) and
`<key>.cls` beside it, with the number of its class. Only the files' headers and the classes are read here.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hetconv.errors import UsageError

IMAGES = ("jpg", "jpeg", "png", "webp", "ppm", "bmp")
CLASS = "cls"
LONGEST_CLASS = 64
"""Bytes of a class's number that are read; hostile files have more."""
END = b"\0" * tarfile.BLOCKSIZE
"""A block of what a whole tar file ends with."""


@dataclass(frozen=True)
class Shard:
    """One tar file; `highest` is the highest number of a class in it."""

    path: Path
    images: int
    highest: int


def read_shards(folder: Path) -> tuple[Shard, ...]:
    """Every `*.tar` of a folder, in the order of their names.

    Raises:
        UsageError: there is none, or one of them is cut short, no tar file, or holds something else than images with
            their classes; the message names the file.
    """
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise UsageError(f"shards: looked for {folder}/*.tar; there is none. `hetconv shards` makes them")
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Shard:
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            samples = _samples(tar)
            _check_end(tar, file)
    except (tarfile.TarError, OSError) as error:
        raise UsageError(f"shards: {path} is cut short or no tar file ({error}); copy it afresh") from error
    if not samples:
        raise UsageError(f"shards: {path} holds no image; delete it")
    return Shard(path, len(samples), max(_label(path, key, parts) for key, parts in samples))


def _samples(tar: tarfile.TarFile) -> list[tuple[str, dict[str, str]]]:
    """The key of each image, and the suffixes of its files, which follow one another; `cls` with what is in it."""
    found: list[tuple[str, dict[str, str]]] = []
    for member in tar:
        if not member.isfile():
            continue
        key, suffix = _split(member.name)
        if not found or found[-1][0] != key:
            found.append((key, {}))
        file = tar.extractfile(member) if suffix == CLASS else None
        found[-1][1][suffix] = "" if file is None else file.read(LONGEST_CLASS).decode("utf-8", "replace")
    return found


def _label(path: Path, key: str, parts: dict[str, str]) -> int:
    label = parts.get(CLASS)
    if label is None or not any(suffix in IMAGES for suffix in parts):
        raise UsageError(
            f"shards: {path}: {key!r} has {', '.join(sorted(filter(None, parts))) or 'no suffix'}; each image needs "
            f"one of {', '.join(IMAGES)} and {CLASS} beside it, its class's number"
        )
    if not label.strip().isdecimal():
        raise UsageError(f"shards: {path}: {key}.{CLASS}={label[:40]!r} must be a class's number, 0 or more")
    return int(label)


def _split(name: str) -> tuple[str, str]:
    """The key that an image's files share, and the suffix: at the first dot of the name, as webdataset has it."""
    from webdataset.tariterators import base_plus_ext

    key, suffix = base_plus_ext(name)
    return (name, "") if key is None else (key, suffix.lower())


def _check_end(tar: tarfile.TarFile, file: BinaryIO) -> None:
    """A tar file that was cut between two of its files looks whole but for the zeros at its end."""
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != END:
        raise tarfile.ReadError("its end is missing")
