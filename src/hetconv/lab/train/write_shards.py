"""Tar shards out of an image folder: the files as they are, in an order that suits training."""

from __future__ import annotations

import io
import os
import random
import shutil
import tarfile
from pathlib import Path

from hetconv.errors import HetconvError, UsageError
from hetconv.files import check_output_folder
from hetconv.lab.train.shard_index import CLASS, IMAGES

UNFINISHED = ".unfinished"
"""Where shards lie until all of them are whole."""


def write_shards(folder: Path, out: Path, images_per_shard: int = 1000) -> dict[str, int]:
    """Pack train/<class>/<image> and val/<class>/<image> into train/*.tar and val/*.tar.

    Classes are numbered in the order of their names, as for an image folder. The training images are put into one
    fixed random order, so that every shard has images of many classes; the others stay in the folder's order. Shards
    get their place when all of them are written: whatever ends the writing before leaves none.

    Returns:
        Images by split.

    Raises:
        UsageError: something of the folder is missing, an image has a suffix that shards do not take, or there is
            something in the place of the shards already.
        HetconvError: an image cannot be read, or a shard cannot be written.
    """
    if images_per_shard < 1:
        raise UsageError(f"images_per_shard={images_per_shard} must be at least 1")
    check_output_folder(out)
    for split in ("train", "val"):
        if (out / split).exists() and any((out / split).iterdir()):
            raise UsageError(f"out={str(out)!r} holds files in {split} already; give another folder or delete them")
    listed = {split: _listed(folder / split) for split in ("train", "val")}
    random.Random(0).shuffle(listed["train"])
    unfinished = out / UNFINISHED
    try:
        unfinished.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(
            f"{unfinished} is there: another hetconv writes shards, or was ended while it did; delete it or wait"
        ) from error
    try:
        for split, samples in listed.items():
            _write(samples, unfinished / split, images_per_shard)
        for split in listed:
            (unfinished / split).replace(out / split)
    except OSError as error:
        raise HetconvError(f"cannot make shards in {out}: {error}; nothing was written") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {split: len(samples) for split, samples in listed.items()}


def _listed(folder: Path) -> list[tuple[Path, int]]:
    from torchvision.datasets import ImageFolder

    try:
        samples = [(Path(path), label) for path, label in ImageFolder(str(folder)).samples]
    except (FileNotFoundError, RuntimeError) as error:
        reason = f"the folder {folder.name} is not there" if not folder.is_dir() else str(error)
        raise UsageError(f"imagefolder: looked for {folder}/<class>/<image>; {reason}") from error
    for path, _ in samples:
        if _suffix(path) not in IMAGES:
            raise UsageError(f"{path} has the suffix {_suffix(path)}; shards take {', '.join(IMAGES)}; convert it")
    return samples


def _write(samples: list[tuple[Path, int]], folder: Path, images_per_shard: int) -> None:
    folder.mkdir()
    for number, begin in enumerate(range(0, len(samples), images_per_shard)):
        with (folder / f"{number:06d}.tar").open("wb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for index, (image, label) in enumerate(samples[begin : begin + images_per_shard], start=begin):
                    _add(tar, f"{index:09d}.{_suffix(image)}", image.read_bytes())
                    _add(tar, f"{index:09d}.{CLASS}", str(label).encode())
            file.flush()
            os.fsync(file.fileno())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _suffix(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()
