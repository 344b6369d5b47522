"""Labelled images from tar shards, read one after another as they lie, which large sets on slow disks need."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from hetconv.errors import UsageError
from hetconv.train.images import DamagedImageError, image_transform
from hetconv.train.shard_index import CLASS, IMAGES, Shard, read_shards
from hetconv.train.share import Share

SHUFFLE_BUFFER = 1000
"""Images that wait undecoded in each process, out of which the next one is drawn: some 100 MB of photographs."""


@dataclass(frozen=True)
class ShardSplit:
    """All images of a folder of shards; `stream` gives one process's part of them."""

    shards: tuple[Shard, ...]
    transform: Callable[[Any], Tensor]

    @classmethod
    def open(cls, folder: Path, image_size: int, augment: bool) -> ShardSplit:
        """Read what the shards hold.

        Raises:
            UsageError: a shard is damaged, or webdataset is not installed.
        """
        try:
            import webdataset  # noqa: F401
        except ImportError as error:
            raise UsageError("shards: webdataset is not installed; pip install 'hetconv[shards]'") from error
        return cls(read_shards(folder), image_transform(image_size, augment))

    def __len__(self) -> int:
        return sum(shard.images for shard in self.shards)

    @property
    def classes(self) -> int:
        return max(shard.highest for shard in self.shards) + 1

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
        import webdataset
        from webdataset.tariterators import group_by_keys, tar_file_expander

        worker = get_worker_info()
        number, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        seed = torch.initial_seed() - number  # a loader gives its processes seeds in a row
        shards = list(self.split.shards)
        if self.shuffle:
            random.Random(seed).shuffle(shards)
        begin, end = self._part(Share(number, of))
        paths, skipped = _covering(shards, begin, end)
        if not paths:
            return
        stages: list[Any] = [
            partial(_streams, paths),
            tar_file_expander,
            group_by_keys,
            webdataset.slice(skipped, skipped + end - begin),
        ]
        if self.shuffle:
            draws = random.Random(seed + begin + 1)
            stages.append(webdataset.shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER, rng=draws))
        for sample in webdataset.DataPipeline(*stages):
            yield self._decoded(sample)

    def _part(self, share: Share) -> tuple[int, int]:
        """Where one of the loader's processes begins and ends in the line, at whole batches but for the last one."""
        first, last = share.span(-(-len(self) // self.batch_size))
        return self.begin + first * self.batch_size, min(self.begin + last * self.batch_size, self.end)

    def _decoded(self, sample: dict[str, Any]) -> tuple[Tensor, int]:
        from PIL import Image

        data = next(sample[suffix] for suffix in IMAGES if suffix in sample)
        try:
            image = Image.open(io.BytesIO(data)).convert("RGB")
        except (OSError, Image.DecompressionBombError) as error:
            where = f"{sample['__key__']} in {sample['__url__']}"
            raise DamagedImageError(f"shards: {where} is damaged ({error}); replace or delete it") from error
        return self.split.transform(image), int(sample[CLASS])


def _streams(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """The shards as webdataset wants them; its own way of opening files leaves them open."""
    for path in paths:
        with path.open("rb") as file:
            yield {"url": str(path), "stream": file}


def _covering(shards: list[Shard], begin: int, end: int) -> tuple[list[Path], int]:
    """The shards that hold the images `begin` to `end` of the line, and how many of the first one's come before."""
    ends = list(accumulate(shard.images for shard in shards))
    found = [
        (shard.path, stop - shard.images)
        for shard, stop in zip(shards, ends, strict=True)
        if stop > begin and stop - shard.images < end
    ]
    if begin >= end:
        return [], 0
    return [path for path, _ in found], begin - found[0][1]
