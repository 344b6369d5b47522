"""The data sets, by name: what is trained on, and what is held out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from hetconv.errors import UsageError
from hetconv.foreign import foreign
from hetconv.lab.train.images import ImageFolderSplit, TensorSplit, random_crop, random_flip
from hetconv.lab.train.shards import ShardSplit
from hetconv.lab.train.share import BatchShares, Share

KINDS = "digits, cifar10:<folder>, imagefolder:<folder> or shards:<folder>"
ALL = Share()
LOADERS_BESIDE_CPU, LOADERS_BESIDE_GPU = 2, 16
"""At most so many processes read and augment image files for one that trains. They live for one epoch, so that their
randomness is the epoch's."""
CIFAR_FOLDER = "cifar-10-batches-py"
DIGITS_TEST_IMAGES = 360
"""A fifth of scikit-learn's 1,797 digits is held out; the split is fixed, stratified and independent of any seed."""


@dataclass(frozen=True)
class Data:
    """A data set split into what is trained on and what is held out; images are normalized (B, 3, H, W).

    Attributes:
        class_names: of an image folder, in the order of its labels.
    """

    name: str
    num_classes: int
    input_size: tuple[int, int, int]
    train: Dataset[Any] | ShardSplit
    test: Dataset[Any] | ShardSplit
    workers: int = 0
    class_names: tuple[str, ...] = ()

    def train_loader(self, batch_size: int, share: Share = ALL) -> DataLoader[Any]:
        """Batches of augmented images in an order drawn from PyTorch's global generator; the last, partial one is
        dropped unless it is the only one.

        Args:
            batch_size: of all processes together.
            share: the part of each batch that this process gets. All of them must have set the same seed.
        """
        if isinstance(self.train, ShardSplit):
            begin, end = share.span(batch_size)
            return self._streamed(self.train, end - begin, share, shuffle=True)
        drop_last = self.train_images >= batch_size
        batches = BatchSampler(RandomSampler(self.train), batch_size, drop_last)  # type: ignore[arg-type]
        return self._loader(self.train, BatchShares(batches, share))

    def of_epoch(self, augmentation: str, seed: int, epoch: int) -> Data:
        """The data of one epoch, its training images augmented as the recipe's `augmentation` says.

        Raises:
            UsageError: the augmentation is for images in memory, and these are not.
        """
        if augmentation == "default":
            return self
        if not isinstance(self.train, TensorSplit):
            raise UsageError(f"augmentation={augmentation!r} is for digits and cifar10, not for {self.name}")
        return replace(self, train=self.train.alternating(seed, epoch))

    def first_images(self, count: int) -> Tensor:
        """At most so many training images (n, 3, H, W), the first of a fixed shuffle, not augmented."""
        order = torch.randperm(self.train_images, generator=torch.Generator().manual_seed(0)).tolist()
        plain = self.train.plain()  # type: ignore[union-attr]
        return torch.stack([plain[index][0] for index in order[:count]])

    def test_loader(self, batch_size: int, share: Share = ALL) -> DataLoader[Any]:
        """Batches of this process's share of the held-out images, every image once, in no promised order."""
        if isinstance(self.test, ShardSplit):
            return self._streamed(self.test, batch_size, share, shuffle=False)
        batches = BatchSampler(SequentialSampler(range(*share.span(self.test_images))), batch_size, drop_last=False)
        return self._loader(self.test, batches)

    @property
    def train_images(self) -> int:
        return len(self.train)  # type: ignore[arg-type]

    @property
    def test_images(self) -> int:
        return len(self.test)  # type: ignore[arg-type]

    def _loader(self, split: Dataset[Any], batches: Any) -> DataLoader[Any]:
        collate: Callable[[Any], Any] | None = _whole_batch if isinstance(split, TensorSplit) else None
        workers = 0 if isinstance(split, TensorSplit) else self.workers
        return DataLoader(split, batch_sampler=batches, collate_fn=collate, num_workers=workers)

    def _streamed(self, split: ShardSplit, batch_size: int, share: Share, shuffle: bool) -> DataLoader[Any]:
        return DataLoader(split.stream(batch_size, share, shuffle), batch_size, num_workers=self.workers)


def _whole_batch(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """`TensorSplit` makes whole batches; there is nothing to put together. A named function so that it pickles."""
    return batch


def load_data(
    spec: str, *, image_size: int = 224, train_limit: int | None = None, validation_images: int | None = None
) -> Data:
    """Open a data set.

    Args:
        spec: digits (scikit-learn's 1,797 real handwritten digits, made 3×32×32), cifar10:<folder> (the folder that
            holds cifar-10-batches-py, or that folder), imagefolder:<folder> (train/<class>/ and val/<class>/),
            shards:<folder> (train/*.tar and val/*.tar, as `hetconv shards` makes them of an image folder).
        image_size: height and width that the images of a folder or of shards are brought to.
        train_limit: train on this many images only, the first of a fixed shuffle; the held-out split stays whole.
        validation_images: hold out this many images of the training split, the last of the same shuffle, in the place
            of the test split, which is then not looked at: for whatever chooses something by accuracy.

    Raises:
        UsageError: the name is unknown, or the data is missing or damaged; the message says what was looked for where.
    """
    kind, _, folder = spec.partition(":")
    if kind == "digits" and not folder:
        data = _digits()
    elif kind == "cifar10" and folder:
        data = _cifar10(Path(folder).expanduser())
    elif kind == "imagefolder" and folder:
        data = _imagefolder(Path(folder).expanduser(), image_size, _loaders())
    elif kind == "shards" and folder:
        data = _shards(Path(folder).expanduser(), image_size, _loaders())
    else:
        raise UsageError(f"unknown data set {spec!r}; it must be {KINDS}")
    return limited(data, train_limit, validation_images)


@cache
def _digits() -> Data:
    """Read once by each process: nothing changes it."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, test = train_test_split(
        range(len(digits.target)), test_size=DIGITS_TEST_IMAGES, random_state=0, stratify=digits.target
    )
    grey = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
    images = torch.nn.functional.interpolate(grey, size=32, mode="bilinear").round().byte().expand(-1, 3, -1, -1)
    labels = torch.from_numpy(digits.target).long()
    return _in_memory("digits", (images[train], labels[train]), (images[test], labels[test]), 10, [random_crop])


def _cifar10(folder: Path) -> Data:
    from torchvision.datasets import CIFAR10

    root = folder.parent if folder.name == CIFAR_FOLDER else folder
    where = root / CIFAR_FOLDER
    if not where.is_dir():
        raise UsageError(f"cifar10: looked for the folder {where}; it is not there. It holds data_batch_1 … test_batch")
    with foreign(f"cifar10: {where} is missing files or they are damaged", way_out="unpack it afresh"):
        splits = [CIFAR10(str(root), train=train, download=False) for train in (True, False)]
    tensors = [(torch.from_numpy(s.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(s.targets)) for s in splits]
    return _in_memory("cifar10", tensors[0], tensors[1], 10, [random_flip, random_crop])


def _in_memory(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], num_classes: int,
               augment: list[Callable[[Tensor], Tensor]]) -> Data:  # fmt: skip
    pixels = train[0].float() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    channels, height, width = train[0].shape[1:]
    return Data(
        name, num_classes, (channels, height, width),
        TensorSplit(*train, mean, std, tuple(augment)), TensorSplit(*test, mean, std, ()),
    )  # fmt: skip


def _imagefolder(folder: Path, image_size: int, workers: int) -> Data:
    splits = {}
    for split in ("train", "val"):
        if not (folder / split).is_dir():
            raise UsageError(
                f"imagefolder: looked for {folder / split}/<class>/<image>; the folder {split} is not there"
            )
        splits[split] = ImageFolderSplit(folder / split, image_size, augment=split == "train")
    if splits["train"].classes != splits["val"].classes:
        difference = sorted(set(splits["train"].classes) ^ set(splits["val"].classes))
        raise UsageError(f"imagefolder: {folder}/train and /val have different classes: {', '.join(difference[:5])}")
    names = tuple(splits["train"].classes)
    size = 3, image_size, image_size
    return Data("imagefolder", len(names), size, splits["train"], splits["val"], workers, names)


def _shards(folder: Path, image_size: int, workers: int) -> Data:
    train, val = (ShardSplit.open(folder / split, image_size, augment=split == "train") for split in ("train", "val"))
    if val.classes > train.classes:
        highest = train.classes - 1
        raise UsageError(
            f"shards: {folder}/val has an image of class {val.classes - 1}; the highest of /train is {highest}"
        )
    return Data("shards", train.classes, (3, image_size, image_size), train, val, workers)


def _loaders() -> int:
    """How many processes load image files for this one: not more than its share of the cores it may run on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    return min(share, LOADERS_BESIDE_GPU if torch.accelerator.is_available() else LOADERS_BESIDE_CPU)


def limited(data: Data, train_limit: int | None = None, validation_images: int | None = None) -> Data:
    """The same data with fewer training images, and some of them in the place of the test split: see `load_data`.

    Raises:
        UsageError: there are not so many training images.
    """
    if train_limit is None and validation_images is None:
        return data
    if isinstance(data.train, ShardSplit):
        argument, value = (
            ("train_limit", train_limit) if train_limit is not None else ("validation_images", validation_images)
        )
        raise UsageError(f"{argument}={value} is not for shards; leave it out and make shards of fewer images")
    images = data.train_images
    apart = 0 if validation_images is None else validation_images
    if validation_images is not None and not 1 <= apart < images:
        raise UsageError(
            f"validation_images={apart} must be between 1 and {images - 1}: {images} images are trained on"
        )
    limit = images - apart if train_limit is None else train_limit
    if not 1 <= limit <= images - apart:
        besides = f"; {apart} more are held out" if apart else ""
        raise UsageError(f"train_limit={limit} must be between 1 and the {images - apart} training images{besides}")
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0)).tolist()
    train: Any = data.train
    test = train.plain().subset(order[images - apart :]) if apart else data.test
    return replace(data, train=train.subset(order[:limit]), test=test)
