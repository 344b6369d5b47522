"""A product on the kernel that its configuration is for."""

from __future__ import annotations

from torch import Tensor

from hetconv.ops.gpu.configurations import Configuration
from hetconv.ops.gpu.halo.device import launch
from hetconv.ops.gpu.halo.launch import halo_into
from hetconv.ops.gpu.halo.tile import HaloConfiguration
from hetconv.ops.gpu.product import Epilogue, Walk, convolve_into
from hetconv.ops.gpu.rows import PackedRows
from hetconv.pattern import HetPattern

AnyConfiguration = Configuration | HaloConfiguration


def product_into(
    y: Tensor,
    x: Tensor,
    packed: Tensor,
    pattern: HetPattern,
    rows: PackedRows,
    walk: Walk,
    configuration: AnyConfiguration,
    epilogue: Epilogue,
) -> None:
    """As `convolve_into`, with either kind of configuration."""
    if isinstance(configuration, HaloConfiguration):
        halo_into(y, x, packed, rows, walk, configuration, epilogue, launch)
    else:
        convolve_into(y, x, packed, pattern, rows, walk, configuration, epilogue)


def unproven(configuration: object) -> bool:
    """Whether what it computes is compared before it may be chosen."""
    return isinstance(configuration, HaloConfiguration)
