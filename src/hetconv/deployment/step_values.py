"""What a graph's values are while its steps are written: the network's, and sizes and forms on the way to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hetconv.ops.network_steps import Affine


class NotAStepError(Exception):
    """A call that no step computes; the message is the reason."""


@dataclass(frozen=True)
class Known:
    """A graph's value as a step's.

    Attributes:
        channels: None where only running the network tells.
        flat: whether it is (B, channels).
        one_pixel: whether it is sure to have no more.
        of: what it stands for if it is u8; None of float32.
        permuted: whether it is (B, H, W, channels).
    """

    number: int
    channels: int | None
    flat: bool = False
    one_pixel: bool = False
    of: Affine | None = None
    permuted: bool = False

    @property
    def ends_in_channels(self) -> bool:
        return self.flat or self.permuted


@dataclass(frozen=True)
class Batch:
    """The number of images."""


@dataclass(frozen=True)
class Extent:
    """The height (2) or the width (3) of a value."""

    of: Known
    axis: int


@dataclass(frozen=True)
class Sizes:
    """A value's shape."""

    of: Known

    def __getitem__(self, index: int) -> int | Batch | Extent:
        names = (Batch(), self.of.channels) if self.of.flat else (
            Batch(), self.of.channels, Extent(self.of, 2), Extent(self.of, 3)
        )  # fmt: skip
        found = names[index]
        if found is None:
            raise NotAStepError("how many channels there are is not known")
        return found

    def __len__(self) -> int:
        return 2 if self.of.flat else 4


@dataclass(frozen=True)
class Pieces:
    """A value's channels in several parts."""

    parts: tuple[Known, ...]


@dataclass(frozen=True)
class Column:
    """Numbers with one more dimension, of size 1: on the way to an image of one pixel."""

    of: Known


@dataclass(frozen=True, eq=False)
class Groups:
    """Images whose channels have two dimensions: on the way to another order of channels. channels: (groups, each)"""

    of: Known
    channels: Tensor


def are_sides(sizes: Sequence[Any], of: Known) -> bool:
    """Whether these are the height and the width of a value."""
    both = [(one.of.number, one.axis) if isinstance(one, Extent) else None for one in sizes]
    return both == [(of.number, 2), (of.number, 3)]
