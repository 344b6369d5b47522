"""The forward pass on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from hetconv.ops.arguments import Geometry
from hetconv.ops.gpu.configurations import Configuration, candidates, rows_of
from hetconv.ops.gpu.image_layout import blocked
from hetconv.ops.gpu.packed_weights import pack_weights
from hetconv.ops.gpu.product import Epilogue, convolve_into, forward_walk
from hetconv.ops.gpu.support import device_of, multiplication
from hetconv.ops.gpu.tuning import tuned
from hetconv.pattern import HetPattern


def forward(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    epilogue: Epilogue,
    pattern: HetPattern,
    where: Geometry,
    configuration: Configuration | None = None,
) -> Tensor:
    """x (B, M, H, W) → (B, N, H', W'), channels-last if x is.

    Args:
        configuration: None for the fastest known for these sizes.
    """
    if configuration is None:
        found = forward_candidates(x, pattern, where)
        weights = (weight_spatial, weight_pointwise)
        configuration = tuned(
            ("forward", pattern, where), x, found, lambda one: forward(x, *weights, epilogue, pattern, where, one)
        )
    rows = rows_of(pattern, configuration)
    packed = pack_weights(weight_spatial, weight_pointwise, pattern, rows)
    return forward_packed(x, packed, epilogue, pattern, where, configuration)


def forward_packed(
    x: Tensor, packed: Tensor, epilogue: Epilogue, pattern: HetPattern, where: Geometry, configuration: Configuration
) -> Tensor:
    """The same on weights packed for this configuration."""
    size = (x.shape[0], pattern.out_channels, *where.output_hw((x.shape[2], x.shape[3]), pattern.kernel_hw))
    y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=suggest_memory_format(x))
    if y.numel():
        source = blocked(x, pattern.p, pattern.arrangement == "shifted")
        rows = rows_of(pattern, configuration)
        convolve_into(y, source, packed, pattern, rows, forward_walk(where), configuration, epilogue)
    return y


def forward_candidates(x: Tensor, pattern: HetPattern, where: Geometry) -> tuple[Configuration, ...]:
    """What the forward pass of this call is tried with, the expected best one first."""
    out_hw = where.output_hw((x.shape[2], x.shape[3]), pattern.kernel_hw)
    kind = (x.dtype, multiplication(x.dtype), device_of(x.device))
    return candidates(pattern.in_channels, pattern.out_channels, pattern.p, out_hw, *kind)
