"""The gradient of the input on a GPU: the same product with filters and channels exchanged."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from hetconv.ops.arguments import Geometry
from hetconv.ops.gpu.configurations import Configuration, candidates
from hetconv.ops.gpu.image_layout import blocked
from hetconv.ops.gpu.packed_weights import pack_weights
from hetconv.ops.gpu.product import Epilogue, convolve_into, input_grad_walk
from hetconv.ops.gpu.rows import PackedRows
from hetconv.ops.gpu.support import device_of, multiplication
from hetconv.ops.gpu.tuning import tuned
from hetconv.pattern import HetPattern


def input_grad(
    grad_output: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    input_hw: tuple[int, int],
    pattern: HetPattern,
    where: Geometry,
    configuration: Configuration | None = None,
) -> Tensor:
    """grad_output (B, N, H', W') → (B, M, *input_hw), channels-last if grad_output is.

    Args:
        configuration: None for the fastest known for these sizes.
    """
    if configuration is None:
        configuration = tuned(
            ("input_grad", pattern, where, input_hw),
            grad_output,
            input_grad_candidates(grad_output, input_hw, pattern, where),
            lambda one: input_grad(grad_output, weight_spatial, weight_pointwise, input_hw, pattern, where, one),
        )
    size = (grad_output.shape[0], pattern.in_channels, *input_hw)
    memory_format = suggest_memory_format(grad_output)
    grad = torch.empty(size, dtype=grad_output.dtype, device=grad_output.device, memory_format=memory_format)
    if grad.numel() == 0:
        return grad
    rows = PackedRows.of(pattern, configuration.merge, configuration.block_k).exchanged()
    packed = pack_weights(weight_spatial, weight_pointwise, pattern, rows, exchanged=True)
    source = blocked(grad_output, pattern.p, pattern.arrangement == "shifted")
    convolve_into(grad, source, packed, pattern, rows, input_grad_walk(where), configuration, Epilogue())
    return grad


def input_grad_candidates(
    grad_output: Tensor, input_hw: tuple[int, int], pattern: HetPattern, where: Geometry
) -> tuple[Configuration, ...]:
    """What the input gradient of this call is tried with, the expected best one first."""
    one_residue = input_hw[0] // where.stride[0], input_hw[1] // where.stride[1]
    kind = (grad_output.dtype, multiplication(grad_output.dtype), device_of(grad_output.device))
    return candidates(pattern.out_channels, pattern.in_channels, pattern.p, one_residue, *kind)
