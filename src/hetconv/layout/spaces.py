"""Channel spaces: sets of tensors whose channels must stand in the same order."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(eq=False)
class Space:
    """One set of channels. Spaces are joined as the network adds tensors; `root` is the one that stands for all.

    Attributes:
        fixed: why its channels cannot move, or None.
    """

    channels: int
    fixed: str | None = None
    _parent: Space | None = None

    @property
    def root(self) -> Space:
        space = self
        while space._parent is not None:
            space = space._parent
        return space

    def join(self, other: Space) -> None:
        """From now on both are one space."""
        mine, its = self.root, other.root
        if mine is not its:
            its._parent = mine
            mine.fixed = its.fixed if mine.fixed is None else mine.fixed

    def fix(self, why: str) -> None:
        """Its channels stay where they are."""
        root = self.root
        root.fixed = why if root.fixed is None else root.fixed


Segments = tuple[Space, ...]
"""The channels of a concatenated tensor: one space after another."""


def channels_of(segments: Segments) -> int:
    return sum(space.channels for space in segments)


def can_join(one: Segments, other: Segments) -> bool:
    return [space.channels for space in one] == [space.channels for space in other]


def join(one: Segments, other: Segments) -> None:
    for mine, its in zip(one, other, strict=True):
        mine.join(its)


@dataclass(frozen=True)
class Tracked:
    """A tensor whose channels may move.

    Attributes:
        rank: its number of dimensions.
        dim: which of them the channels are in.
        segments: whose channels they are.
        inner: features of each channel that lie side by side in that dimension; None if not known.
        area: H·W, if known.
    """

    rank: int
    dim: int
    segments: Segments
    inner: int | None = 1
    area: int | None = None

    @property
    def from_right(self) -> int:
        """The channel dimension counted from the last, which is −1."""
        return self.dim - self.rank

    def moved(self, **changes: object) -> Tracked:
        return replace(self, **changes)  # type: ignore[arg-type]
