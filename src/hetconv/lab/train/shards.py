"""Labelled images from tar shards, read one after another as they lie, which large sets on slow disks need."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from hetconv.lab.train.images import DamagedImageError, image_transform, read_image
from hetconv.lab.train.shard_index import Shard, key_at, read_shards
from hetconv.lab.train.share import Share

SHUFFLE_BUFFER = 1000
"""Images that wait undecoded in each process, out of which the next one is drawn: some 100 MB of photographs."""


class Sample(NamedTuple):
    """An image file as it lies in a shard, and its class."""

    path: Path
    offset: int
    data: bytes
    label: int


@dataclass(frozen=True)
class ShardSplit:
    """All images of a folder of shards; `stream` gives one process's part of them."""

    shards: tuple[Shard, ...]
    transform: Callable[[Any], Tensor]

    @classmethod
    def open(cls, folder: Path, image_size: int, augment: bool) -> ShardSplit:
        """Read what the shards hold.

        Raises:
            UsageError: a shard is damaged.
        """
        return cls(read_shards(folder), image_transform(image_size, augment))

    def __len__(self) -> int:
        return sum(shard.images for shard in self.shards)

    @property
    def classes(self) -> int:
        return max(max(shard.labels) for shard in self.shards) + 1

    def stream(self, batch_size: int, share: Share, shuffle: bool) -> ShardStream:
        """What one process gets of an epoch, in batches of `batch_size`, its part of a global batch.

        Shuffled, all processes get equally many whole batches, and what is left over at the end of the epoch's line is
        dropped unless it is all there is. Unshuffled, every image comes once.
        """
        length = len(self)
        if shuffle:
            step = batch_size * share.of
            length = length // step * step or length // share.of * share.of
        begin, end = share.span(length)
        return ShardStream(self, begin, end, batch_size, shuffle)


class ShardStream(IterableDataset[tuple[Tensor, int]]):
    """The images `begin` to `end` of an epoch's line: the shards laid one behind another, in an order drawn anew for
    each epoch. A loader's processes each take a run of whole batches of it.

    The order, and which image is drawn from the buffer next, come from PyTorch's global generator, which every process
    that trains has set to the epoch's seed: so the line is the same for all, and again when an epoch is done again.
    """

    def __init__(self, split: ShardSplit, begin: int, end: int, batch_size: int, shuffle: bool) -> None:
        self.split, self.begin, self.end, self.batch_size, self.shuffle = split, begin, end, batch_size, shuffle

    def __len__(self) -> int:
        return self.end - self.begin

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        worker = get_worker_info()
        number, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        seed = torch.initial_seed() - number  # a loader gives its processes seeds in a row
        shards = list(self.split.shards)
        if self.shuffle:
            random.Random(seed).shuffle(shards)
        begin, end = self._part(Share(number, of))
        samples = _samples(shards, begin, end)
        if self.shuffle:
            samples = _drawn(samples, random.Random(seed + begin + 1))
        for sample in samples:
            yield self.split.transform(_decoded(sample)), sample.label

    def _part(self, share: Share) -> tuple[int, int]:
        """Where one of the loader's processes begins and ends in the line, at whole batches but for the last one."""
        first, last = share.span(-(-len(self) // self.batch_size))
        return self.begin + first * self.batch_size, min(self.begin + last * self.batch_size, self.end)


def _samples(shards: list[Shard], begin: int, end: int) -> Iterator[Sample]:
    """The images `begin` to `end` of the line of shards."""
    before = 0
    for shard in shards:
        first, last = max(begin - before, 0), min(end - before, shard.images)
        before += shard.images
        if first >= last:
            continue
        with shard.path.open("rb") as file:
            for at in range(first, last):
                file.seek(shard.offsets[at])
                yield Sample(shard.path, shard.offsets[at], file.read(shard.sizes[at]), shard.labels[at])


def _drawn(samples: Iterator[Sample], draws: random.Random) -> Iterator[Sample]:
    """The samples, each drawn from a buffer of those that come next."""
    waiting: list[Sample] = []
    for sample in samples:
        waiting.append(sample)
        if len(waiting) == SHUFFLE_BUFFER:
            yield _taken(waiting, draws)
    while waiting:
        yield _taken(waiting, draws)


def _taken(waiting: list[Sample], draws: random.Random) -> Sample:
    at = draws.randrange(len(waiting))
    waiting[at], waiting[-1] = waiting[-1], waiting[at]
    return waiting.pop()


def _decoded(sample: Sample) -> Any:
    try:
        return read_image(io.BytesIO(sample.data), f"the image at byte {sample.offset} of {sample.path}")
    except DamagedImageError as error:
        raise DamagedImageError(f"shards: {key_at(sample.path, sample.offset)!r}, {error}") from error
