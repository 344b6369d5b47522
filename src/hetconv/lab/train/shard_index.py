"""What lies in a folder of tar shards: where each image is, and its class.

A shard is a tar file in the convention of webdataset: an image `<key>.jpg` (or another suffix of `IMAGES`) and
`<key>.cls` beside it, with the number of its class. What is found here is exactly what is read later: by its place in
the file, and not by its name.
"""

from __future__ import annotations

import os
import re
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hetconv.errors import UsageError
from hetconv.foreign import foreign

IMAGES = ("jpg", "jpeg", "png", "webp", "ppm", "bmp")
"""Suffixes of images; of several beside one another the first of these is read."""
CLASS = "cls"
NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]*)", re.DOTALL)
"""A key, which the files of an image share, and a suffix, which begins at the first dot of the file's name."""
LONGEST_CLASS = 18
"""Digits of a class's number."""
LARGEST_IMAGE = 2**28
"""Bytes of one image; hostile headers claim more."""
END = b"\0" * tarfile.BLOCKSIZE
"""A block of what a whole tar file ends with."""


@dataclass(frozen=True)
class Shard:
    """One tar file, with the place, the bytes and the class of each image, in their order in it."""

    path: Path
    offsets: array[int]
    sizes: array[int]
    labels: array[int]

    @property
    def images(self) -> int:
        return len(self.offsets)


class Member(NamedTuple):
    """One file in a shard."""

    key: str
    suffix: str
    offset: int
    size: int


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


def key_at(path: Path, offset: int) -> str:
    """The key of the image that lies at this place of a shard."""
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        return next((member.key for member in _members(path, tar, file) if member.offset == offset), "an image")


def _read(path: Path) -> Shard:
    shard = Shard(path, array("q"), array("q"), array("q"))
    unreadable = foreign(f"shards: {path} is cut short or no tar file", way_out="copy it afresh")
    with unreadable, path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        samples = list(_samples(path, tar, file))
        _check_end(tar, file)
        for key, parts in samples:
            image, label = _image(path, key, parts), _label(path, key, parts, file)
            shard.offsets.append(image.offset)
            shard.sizes.append(image.size)
            shard.labels.append(label)
    if not shard.images:
        raise UsageError(f"shards: {path} holds no image; delete it")
    return shard


def _samples(path: Path, tar: tarfile.TarFile, file: BinaryIO) -> Iterator[tuple[str, dict[str, Member]]]:
    """The key of each image, and its files by suffix, which follow one another."""
    key, parts = "", dict[str, Member]()
    for member in _members(path, tar, file):
        if parts and member.key != key:
            yield key, parts
            parts = {}
        if member.suffix in parts:
            raise UsageError(f"shards: {path}: {member.key!r} has {member.suffix} twice; make the shard afresh")
        key, parts[member.suffix] = member.key, member
    if parts:
        yield key, parts


def _members(path: Path, tar: tarfile.TarFile, file: BinaryIO) -> Iterator[Member]:
    """The files of a shard; what their headers claim is there."""
    length, end = os.fstat(file.fileno()).st_size, 0
    for member in tar:
        if member.offset < end or member.size < 0:
            raise tarfile.ReadError("its headers overlap")
        end = member.offset_data
        if not member.isfile():
            continue
        if member.issparse():
            raise UsageError(f"shards: {path}: {member.name!r} is sparse; make the shard afresh")
        end += member.size
        if end > length:
            raise tarfile.ReadError(f"{member.name!r} goes on behind its end")
        found = NAME.fullmatch(member.name)
        key, suffix = (member.name, "") if found is None else (found[1], found[2].lower())
        yield Member(key, suffix, member.offset_data, member.size)


def _image(path: Path, key: str, parts: dict[str, Member]) -> Member:
    image = next((parts[suffix] for suffix in IMAGES if suffix in parts), None)
    if image is None or CLASS not in parts:
        raise UsageError(
            f"shards: {path}: {key!r} has {', '.join(sorted(filter(None, parts))) or 'no suffix'}; each image needs "
            f"one of {', '.join(IMAGES)} and {CLASS} beside it, its class's number"
        )
    if image.size > LARGEST_IMAGE:
        raise UsageError(f"shards: {path}: {key!r} has {image.size:,} bytes; an image may have {LARGEST_IMAGE:,}")
    return image


def _label(path: Path, key: str, parts: dict[str, Member], file: BinaryIO) -> int:
    file.seek(parts[CLASS].offset)
    label = file.read(min(parts[CLASS].size, 4 * LONGEST_CLASS)).decode("utf-8", "replace").strip()
    if not label.isdecimal() or len(label) > LONGEST_CLASS:
        raise UsageError(f"shards: {path}: {key}.{CLASS}={label[:40]!r} must be a class's number, 0 or more")
    return int(label)


def _check_end(tar: tarfile.TarFile, file: BinaryIO) -> None:
    """A tar file that was cut between two of its files looks whole but for the zeros at its end."""
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != END:
        raise tarfile.ReadError("its end is missing")
