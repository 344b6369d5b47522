"""The tiles that `halo.cu` is compiled for, and where a layer's positions lie in them. Knows neither CUDA nor torch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from hetconv.ops.gpu.rows import PackedRows

THREADS, WARPGROUPS, TAPS = 256, 2, 8
MOST_SHARED_BYTES = 227 * 1024
"""Of one block of threads, on compute capability 9.0."""
ONE_STRIP = 64
"""Images are cut into strips where their rows are longer: the surroundings of a tile are rows."""


@dataclass(frozen=True)
class HaloConfiguration:
    """One way to run `halo.cu`.

    Args:
        positions, filters: the tile of one block of threads.
        ring_filters: those of them that share their ring's channels.
        block: channels of one step.
        most_positions: of a tile with its surroundings, at most.
        stages: steps whose operands are in shared memory at once.
        resident: blocks of threads that share a processor.
        merge, block_k: of the packed rows that it reads.
    """

    positions: int
    filters: int
    ring_filters: int
    block: int
    most_positions: int
    stages: int
    resident: int
    merge: int
    block_k: int

    @property
    def plane_rows(self) -> int:
        """Positions of a plane in shared memory, with what keeps neighbouring planes on different banks."""
        return self.most_positions + self.padding

    @property
    def padding(self) -> int:
        return 2 if self.block == 32 else 4

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block of threads: its stages, and the sums on their way out."""
        rows = self.plane_rows + self.filters + TAPS * self.ring_filters + 2 * self.padding
        stored = 64 * WARPGROUPS * 2 * (self.filters + 8)
        return self.stages * 2 * self.block * rows + 4 * self.positions + stored


class HaloLayer(ctypes.Structure):
    """`Layer` of halo.cu."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            *("positions", "strip_positions", "row_positions", "strips", "strip_width"),
            *("in_height", "in_width", "out_height", "out_width"),
            *("padding_h", "padding_w", "dilation_h", "dilation_w", "mirrored"),
            *("in_channels", "own_channels", "part_filters", "columns", "row"),
            *("x_image", "x_row", "x_pixel", "y_image", "y_row", "y_pixel"),
            *("plane_rows", "tiles", "bias_bytes", "has_residual", "activation"),
        )
    ]


@dataclass(frozen=True)
class Positions:
    """How an image lies flat: its strips, and rows with the padding that separates them."""

    strips: int
    strip_width: int
    row_positions: int
    strip_positions: int

    def reach(self, dilation: tuple[int, int]) -> int:
        """How far the last tap is from the first, in positions."""
        return 2 * (dilation[0] * self.row_positions + dilation[1])


def positions_of(
    in_hw: tuple[int, int], out_hw: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Positions:
    """One strip where rows are short: the padding on its right is that on the left of the next row.

    Strips have an own padding, or the columns that belong to their neighbours.
    """
    height = in_hw[0] + padding[0]
    strips = -(-out_hw[1] // ONE_STRIP) if in_hw[1] + padding[1] > ONE_STRIP else 1
    if strips == 1:
        return Positions(1, out_hw[1], in_hw[1] + padding[1], height * (in_hw[1] + padding[1]))
    width = -(-out_hw[1] // strips)
    row = width + 2 * dilation[1]
    return Positions(strips, width, row, height * row)


def halo_candidates(
    rows: PackedRows, positions: Positions, padding: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[HaloConfiguration]:
    """Large tiles, which read weights least often; then small ones, two of which may share a processor.

    None where a row's padding reaches past the next row, parts are no multiple of 16 channels or filters, or a tile
    with its surroundings does not fit.
    """
    ring = next((size for size in (128, 64, 32, 16) if rows.part_filters % size == 0), 0)
    if not ring or rows.own % 16 or any(not 0 <= p <= 2 * d for p, d in zip(padding, dilation, strict=True)):
        return
    together = [count for count in (8, 4, 2) if ring == rows.part_filters and rows.parts % count == 0]
    filters = ring * next((count for count in together if ring * count <= 128), 1)
    for tile, resident in ((256, 1), (128, 2 if ring < 64 else 1)):  # with wide rings registers suffice for one
        choices = (
            HaloConfiguration(
                tile,
                filters,
                ring,
                block,
                _most(tile + positions.reach(dilation), block),
                stages,
                resident,
                rows.merge,
                rows.block,
            )
            for block in (32, 16)
            for stages in (4, 3, 2)
            if rows.own % block == 0
        )
        fitting = (one for one in choices if (one.shared_bytes + 1024) * resident <= MOST_SHARED_BYTES + 1024)
        yield from islice(fitting, 1)


def _most(reached: int, block: int) -> int:
    """Positions that all threads copy in whole turns, a thread copying 16 bytes."""
    turn = THREADS * 8 // block
    return -(-reached // turn) * turn
