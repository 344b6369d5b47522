"""How the weights of a layer lie in memory for the GPU kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hetconv.pattern import HetPattern


@dataclass(frozen=True)
class PackedRows:
    """A matrix with one row for each filter: its 1×1 weights for all channels, then its ring, tap by tap.

    Args:
        in_channels, out_channels: of the product; for the input gradient the layer's, exchanged.
        p: the layer's number of parts.
        merge: parts taken as one, which divides p; weights that the wider part does not have are zeros.
        block: both sections are filled up with zeros to a multiple of it.
    """

    in_channels: int
    out_channels: int
    p: int
    taps: int
    merge: int
    block: int

    @classmethod
    def of(cls, pattern: HetPattern, merge: int, block: int) -> PackedRows:
        return cls(pattern.in_channels, pattern.out_channels, pattern.p, pattern.taps, merge, block)

    def exchanged(self) -> PackedRows:
        """Those of the input gradient, whose input is the output's gradient."""
        return replace(self, in_channels=self.out_channels, out_channels=self.in_channels)

    @property
    def parts(self) -> int:
        """Parts after merging."""
        return self.p // self.merge

    @property
    def own(self) -> int:
        """Channels of one part after merging."""
        return self.in_channels // self.parts

    @property
    def part_filters(self) -> int:
        """Filters of one part after merging."""
        return self.out_channels // self.parts

    @property
    def columns(self) -> int:
        """Length of the 1×1 section."""
        return _filled(self.in_channels, self.block)

    @property
    def ring(self) -> int:
        """Weights of the ring, zeros of merging included."""
        return (self.taps - 1) * self.own

    @property
    def row(self) -> int:
        """Length of a row."""
        return self.columns + _filled(self.ring, self.block)

    @property
    def even(self) -> bool:
        """Whether neither section had to be filled up."""
        return self.in_channels % self.block == 0 and self.ring % self.block == 0

    @property
    def macs_per_position(self) -> int:
        """Multiply-adds that a product with these rows executes for one position, without what fills them up."""
        return self.out_channels * (self.in_channels + self.ring)


def merge_for(p: int, part_filters: int, least: int) -> int:
    """The smallest number of parts, a divisor of p, that together have at least `least` filters; p if none has."""
    return next((m for m in range(1, p + 1) if p % m == 0 and m * part_filters >= least), p)


def _filled(size: int, block: int) -> int:
    return -(-size // block) * block
