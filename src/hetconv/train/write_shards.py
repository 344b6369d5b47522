"""Tar shards out of an image folder: the files as they are, in an order that suits training."""

from __future__ import annotations

import random
from pathlib import Path

from hetconv.errors import HetconvError, UsageError
from hetconv.train.shard_index import CLASS, IMAGES


def write_shards(folder: Path, out: Path, images_per_shard: int = 1000) -> dict[str, int]:
    """Pack train/<class>/<image> and val/<class>/<image> into train/*.tar and val/*.tar.

    Classes are numbered in the order of their names, as for an image folder. The training images are put into one
    fixed random order, so that every shard has images of many classes; the others stay in the folder's order.

    Returns:
        Images by split.

    Raises:
        UsageError: something of the folder is missing, an image has a suffix that shards do not take, or there are
            shards in `out` already.
        HetconvError: a shard cannot be written; what was written before stays.
    """
    if images_per_shard < 1:
        raise UsageError(f"images_per_shard={images_per_shard} must be at least 1")
    listed = {split: _listed(folder / split) for split in ("train", "val")}
    random.Random(0).shuffle(listed["train"])
    for split in listed:
        if any((out / split).glob("*.tar")):
            raise UsageError(f"out={str(out)!r} holds {split}/*.tar already; give another folder or delete them")
    for split, samples in listed.items():
        try:
            _write(samples, out / split, images_per_shard)
        except OSError as error:
            raise HetconvError(f"cannot write to {out / split}: {error.strerror}") from error
    return {split: len(samples) for split, samples in listed.items()}


def _listed(folder: Path) -> list[tuple[Path, int]]:
    from torchvision.datasets import ImageFolder

    try:
        samples = [(Path(path), label) for path, label in ImageFolder(str(folder)).samples]
    except (FileNotFoundError, RuntimeError) as error:
        raise UsageError(f"imagefolder: looked for {folder}/<class>/<image>: {error}") from error
    for path, _ in samples:
        if _suffix(path) not in IMAGES:
            raise UsageError(f"{path} has the suffix {_suffix(path)}; shards take {', '.join(IMAGES)}; convert it")
    return samples


def _write(samples: list[tuple[Path, int]], folder: Path, images_per_shard: int) -> None:
    try:
        import webdataset
    except ImportError as error:
        raise UsageError("shards: webdataset is not installed; pip install 'hetconv[shards]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    for number, begin in enumerate(range(0, len(samples), images_per_shard)):
        path = folder / f"{number:06d}.tar"
        with path.open("wb") as file, webdataset.TarWriter(file, encoder=False, mtime=0) as tar:
            for index, (image, label) in enumerate(samples[begin : begin + images_per_shard], start=begin):
                tar.write({"__key__": f"{index:09d}", _suffix(image): image.read_bytes(), CLASS: str(label).encode()})


def _suffix(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()
