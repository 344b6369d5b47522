"""Labelled images as PyTorch data sets: whole batches from memory, or files from class folders."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hetconv.errors import UsageError
from hetconv.foreign import foreign

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, whatever a file's name says. Pillow knows more, some of which start other programs: PostScript starts
Ghostscript."""
WIDEST = 100
"""How many times one side may be as long as the other: enlarging the short side of a narrower image makes it huge."""
CROP_PADDING = 4
SHIFT = 2
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TensorSplit(Dataset[tuple[Tensor, Tensor]]):
    """Images in memory as bytes (n, C, H, W); a batch is normalized and augmented whole, which needs no workers."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    augment: tuple[Callable[[Tensor], Tensor], ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """One whole batch: images (B, C, H, W) as floats, labels (B)."""
        images = self.images[indices]
        for change in self.augment:
            images = change(images)
        scaled = (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]
        return scaled, self.labels[indices]

    def subset(self, indices: list[int]) -> Self:
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def alternating(self, seed: int, epoch: int) -> Self:
        """The images of one epoch: half of them, drawn by the seed, are mirrored in even epochs and the others in odd
        ones; then each is shifted at random (K. Jordan, arXiv:2404.00498, section 3.6)."""
        drawn = torch.rand(len(self), generator=torch.Generator().manual_seed(seed)) < 0.5
        mirrored = (drawn ^ bool(epoch % 2))[:, None, None, None]
        return replace(self, images=torch.where(mirrored, self.images.flip(3), self.images), augment=(reflected_shift,))

    def plain(self) -> Self:
        """The same images without augmentation."""
        return replace(self, augment=())


def random_flip(images: Tensor) -> Tensor:
    """Mirror each image left to right with probability one half."""
    flip = torch.rand(len(images)) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def random_crop(images: Tensor) -> Tensor:
    """Pad each image (n, C, H, W) by 4 black pixels on every side and cut the original size out at a random place."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (CROP_PADDING,) * 4)
    rows = torch.randint(2 * CROP_PADDING + 1, (count, 1)) + torch.arange(height)
    columns = torch.randint(2 * CROP_PADDING + 1, (count, 1)) + torch.arange(width)
    return _cut(padded, rows, columns)


def reflected_shift(images: Tensor) -> Tensor:
    """Move each image (n, C, H, W) by up to 2 pixels along each axis; what comes in is the reflected border."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images.float(), (SHIFT,) * 4, mode="reflect").byte()
    rows = torch.randint(2 * SHIFT + 1, (count, 1)) + torch.arange(height)
    columns = torch.randint(2 * SHIFT + 1, (count, 1)) + torch.arange(width)
    return _cut(padded, rows, columns)


def _cut(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of each image (n, C, H, W), these rows (n, H') and columns (n, W')."""
    picked = images[torch.arange(len(images))[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


class DamagedImageError(UsageError):
    """An image file cannot be read. PyTorch's loader passes it on from its processes with a traceback for a message,
    of which only the last line is kept."""

    def __init__(self, message: str) -> None:
        super().__init__(message.rsplit("DamagedImageError: ", 1)[-1].strip())


def read_image(file: str | BinaryIO, where: str) -> Any:
    """The picture of an image file, in RGB.

    Args:
        where: the file in words, for the error.

    Raises:
        DamagedImageError: it is none of `FORMATS`, damaged, of more pixels than Pillow takes for harmless, or extremely
            narrow.
    """
    from PIL import Image

    with foreign(f"{where} is damaged", DamagedImageError, "replace or delete it"), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=FORMATS) as image:
            if max(image.size) > WIDEST * min(image.size):
                width, height = image.size
                raise ValueError(f"{width}×{height} pixels; one side may be {WIDEST} times as long as the other")
            return image.convert("RGB")


def _read_file(path: str) -> Any:
    """What torchvision's `ImageFolder` calls; a named function so that it pickles."""
    return read_image(path, f"imagefolder: {path}")


def image_transform(image_size: int, augment: bool) -> Callable[[Any], Tensor]:
    """From a picture to a normalized tensor (3, image_size, image_size): cropped at random and perhaps mirrored, or the
    middle of it."""
    from torchvision.transforms import v2

    resize: list[object] = (
        [v2.RandomResizedCrop(image_size, antialias=True), v2.RandomHorizontalFlip()]
        if augment
        else [v2.Resize(round(image_size * 256 / 224), antialias=True), v2.CenterCrop(image_size)]
    )
    as_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    return v2.Compose([*resize, *as_float])  # type: ignore[no-any-return]


class ImageFolderSplit(Dataset[tuple[Tensor, int]]):
    """Image files in one folder a class, brought to one size; ImageNet's usual cropping and normalization."""

    def __init__(self, folder: Path, image_size: int, augment: bool) -> None:
        from torchvision.datasets import ImageFolder

        self.image_size = image_size
        try:
            self.files = ImageFolder(str(folder), image_transform(image_size, augment), loader=_read_file)
        except (FileNotFoundError, RuntimeError) as error:
            raise UsageError(f"imagefolder: looked for {folder}/<class>/<image>: {error}") from error
        self.classes: list[str] = self.files.classes
        self.indices = list(range(len(self.files)))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.files[self.indices[index]]  # type: ignore[no-any-return]

    def subset(self, indices: list[int]) -> Self:
        found = copy.copy(self)
        found.indices = [self.indices[index] for index in indices]
        return found

    def plain(self) -> Self:
        """The same images without augmentation."""
        found = copy.copy(self)
        found.files = copy.copy(self.files)
        found.files.transform = image_transform(self.image_size, augment=False)
        return found
