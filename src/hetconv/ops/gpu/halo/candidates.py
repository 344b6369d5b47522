"""Which halo configurations a product is tried with."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from hetconv.ops.gpu.halo.launch import aligned, dilation_of, padding_of, positions_for, why_not_halo
from hetconv.ops.gpu.halo.tile import HaloConfiguration, halo_candidates
from hetconv.ops.gpu.halo.verdict import why_not_admitted
from hetconv.ops.gpu.product import Walk
from hetconv.ops.gpu.rows import PackedRows
from hetconv.pattern import HetPattern


def takes(x: Tensor) -> bool:
    """Whether the halo kernel reads this tensor, and is known to compute right on its device."""
    if not x.is_cuda or suggest_memory_format(x) != torch.channels_last or not aligned(x):
        return False
    return why_not_admitted(x.device) is None


@lru_cache(maxsize=4096)
def candidates_of(
    pattern: HetPattern,
    rows: PackedRows,
    in_hw: tuple[int, int],
    out_hw: tuple[int, int],
    walk: Walk,
    dtype: torch.dtype,
) -> tuple[HaloConfiguration, ...]:
    """For a product that reads in_hw and writes out_hw; the same list for the same arguments."""
    if why_not_halo(pattern, walk, dtype) is not None:
        return ()
    positions = positions_for(in_hw, out_hw, walk)
    return tuple(halo_candidates(rows, positions, padding_of(walk), dilation_of(walk)))
