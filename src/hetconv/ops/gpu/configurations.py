"""The tile shapes that the kernels are tried with: few, in a fixed order, the expected best one first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import torch

from hetconv.ops.gpu.rows import PackedRows, merge_for
from hetconv.ops.gpu.support import Device
from hetconv.pattern import HetPattern

LEAST_FILTERS = 16
"""Narrower parts are merged: matrix instructions would run on zeros as well."""
MOST = 5
"""At most so many configurations are timed for one shape."""


@dataclass(frozen=True)
class Configuration:
    """One way to run `convolve`.

    Args:
        block_filters, block_pixels: the tile of one part.
        block_k: products of one step.
        parts: parts that one program computes for its pixels; their 1×1 reads the pixels once.
        merge: parts taken as one, with zeros between them.
        tile_width: 0 for pixels in a row, else tiles of block_pixels / tile_width rows.
        filter_rows: filters are the rows of the matrix instruction and pixels its columns, else the reverse.
        halved: pixels are copied 8 bytes at a time, through the L1 cache, which keeps them for the next taps.
        warps, stages: of Triton.
    """

    block_filters: int
    block_pixels: int
    block_k: int
    parts: int = 1
    merge: int = 1
    tile_width: int = 0
    filter_rows: bool = False
    halved: bool = False
    warps: int = 4
    stages: int = 3

    def shared_bytes(self, itemsize: int, capability: tuple[int, int]) -> int:
        """Of one program: its steps' operands, those of each part apart, then its sums. What Triton takes at most."""
        step = self.parts * (self.block_pixels + self.block_filters) * self.block_k * itemsize
        return max(step * _buffers(self.stages, capability), 4 * self.block_pixels * self.block_filters)


@dataclass(frozen=True)
class WeightGradConfiguration:
    """One way to run `accumulate`; `ring_filters` is the width of a ring's tile, `columns` the height of all tiles."""

    block_filters: int
    ring_filters: int
    block_columns: int
    block_pixels: int
    merge: int = 1
    warps: int = 4
    stages: int = 3

    def shared_bytes(self, itemsize: int, capability: tuple[int, int]) -> int:
        """As `Configuration.shared_bytes`; the 1×1 and the ring are one after the other in the same memory."""
        filters = max(self.block_filters, self.ring_filters)
        step = (self.block_columns + filters) * self.block_pixels * itemsize
        return max(step * _buffers(self.stages, capability), 4 * self.block_columns * filters)


C = TypeVar("C", Configuration, WeightGradConfiguration)


def _buffers(stages: int, capability: tuple[int, int]) -> int:
    """Steps whose operands are in shared memory at once: matrix instructions of 9.0 read the oldest ones there while
    the next ones are copied, those of other devices have them in registers by then."""
    return stages if capability[0] == 9 else max(1, stages - 1)


def step_of(channels: int, dtype: torch.dtype) -> int:
    """Products of one step: 128 bytes where the channels divide into them."""
    largest = 64 if dtype.itemsize == 2 else 32
    return next((step for step in (largest, largest // 2) if channels % step == 0), 16)


@lru_cache(maxsize=4096)
def candidates(
    in_channels: int,
    out_channels: int,
    p: int,
    out_hw: tuple[int, int],
    dtype: torch.dtype,
    precision: str,
    device: Device | None = None,
) -> tuple[Configuration, ...]:
    """For a product of these sizes, the expected best one first; the same list for the same arguments.

    All of them read the same packed rows, so that weights can be packed before it is known which one is the fastest.
    """
    merge = merge_for(p, out_channels // p, LEAST_FILTERS)
    parts, filters, step = p // merge, out_channels // p * merge, step_of(in_channels, dtype)
    if dtype == torch.float32 and precision == "ieee":
        found: Iterable[Configuration] = _exact(filters, step)
    elif filters >= 64:
        found = _wide(filters, parts, step, min(out_hw))
    else:
        found = _narrow(filters, parts, step, min(out_hw))
    chosen = [replace(one, merge=merge) for one in found if parts % one.parts == 0]
    return _fitting(chosen, dtype, device)[:MOST]


def _fitting(found: Sequence[C], dtype: torch.dtype, device: Device | None) -> tuple[C, ...]:
    """Those that the device has the shared memory for, each once; the last one where none is known to fit."""
    each = tuple(dict.fromkeys(found))
    if device is None:
        return each
    fit = (one for one in each if one.shared_bytes(dtype.itemsize, device.capability) <= device.shared_bytes)
    return tuple(fit) or each[-1:]


def _wide(filters: int, parts: int, step: int, least_side: int) -> Iterator[Configuration]:
    """Filters fill the 64 rows of an instruction, so that as many pixels as the registers hold share them."""
    block = 128 if filters >= 128 else 64
    square = Configuration(block, 128, step, filter_rows=True, warps=2 * block // 32, stages=3)
    yield square if block == 128 or step < 64 else Configuration(64, 256, step, filter_rows=True, warps=4)
    yield Configuration(64, 128, step, parts=2, filter_rows=True, warps=8)
    yield Configuration(64, 128, step, filter_rows=True, warps=4, stages=4)
    if least_side >= 14:
        yield Configuration(64, 128, step, parts=2, tile_width=16, filter_rows=True, halved=True, warps=8, stages=2)
        yield Configuration(64, 256, step, tile_width=16, filter_rows=True, halved=True, warps=8, stages=2)
    yield square
    yield Configuration(64, 64, step, filter_rows=True, warps=4, stages=4)


def _narrow(filters: int, parts: int, step: int, least_side: int) -> Iterator[Configuration]:
    """Pixels are the rows, and several parts share them."""
    block = 32 if filters > 16 else 16
    for together in (4, 8, 2):
        if block * together <= 128:
            stages = 2 if together >= 4 else 3  # what their pixels take of the shared memory
            warps = 8 if block * together > 64 else 4
            yield Configuration(block, 128, step, parts=together, warps=warps, stages=stages)
    if least_side >= 14:
        yield Configuration(block, 128, step, parts=4, tile_width=16, halved=True, warps=4, stages=2)
    yield Configuration(block, 256, step, warps=8)
    yield Configuration(block, 128, step, warps=4)
    yield Configuration(block, 64, step, warps=4, stages=4)


def _exact(filters: int, step: int) -> Iterator[Configuration]:
    """Exact float32 runs on the ordinary multipliers: small tiles, since every sum is in a register of its own."""
    block = 32 if filters > 16 else 16
    yield Configuration(block, 64, step, warps=4, stages=2)
    yield Configuration(block, 128, step, warps=8, stages=2)
    yield Configuration(2 * block, 64, step, warps=4, stages=2)


@lru_cache(maxsize=4096)
def weight_grad_candidates(
    pattern: HetPattern, dtype: torch.dtype, precision: str, device: Device | None = None
) -> tuple[WeightGradConfiguration, ...]:
    """As `candidates`, for the weight gradients."""
    merge = merge_for(pattern.p, pattern.out_channels // pattern.p, LEAST_FILTERS)
    filters = pattern.out_channels // pattern.p * merge
    ring = 16 if filters <= 16 else 32 if filters <= 32 else 64
    if dtype == torch.float32 and precision == "ieee":
        return (WeightGradConfiguration(32, min(ring, 32), 32, 16, merge, 4, 2),)
    pixels = 64 if dtype.itemsize == 2 else 32
    wide = 128 if pattern.out_channels >= 128 else 64
    found = (
        WeightGradConfiguration(wide, ring, 128, pixels, merge, 8, 3),
        WeightGradConfiguration(64, ring, 128, pixels, merge, 4, 3),
        WeightGradConfiguration(wide, 2 * ring if filters >= 2 * ring else ring, 128, pixels, merge, 8, 2),
        WeightGradConfiguration(64, ring, 64, pixels, merge, 4, 4),
    )
    return _fitting(found, dtype, device)


def rows_of(pattern: HetPattern, configuration: Configuration) -> PackedRows:
    """The packed weights that this configuration reads in the forward pass."""
    return PackedRows.of(pattern, configuration.merge, configuration.block_k)


def rows_for(pattern: HetPattern, dtype: torch.dtype) -> PackedRows:
    """The packed weights that all candidates read in the forward pass."""
    merge = merge_for(pattern.p, pattern.out_channels // pattern.p, LEAST_FILTERS)
    return PackedRows.of(pattern, merge, step_of(pattern.in_channels, dtype))
