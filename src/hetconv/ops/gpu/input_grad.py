"""The gradient of the input on a GPU: the same product with filters and channels exchanged."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from hetconv.ops.arguments import Geometry
from hetconv.ops.gpu.configurations import candidates
from hetconv.ops.gpu.halo.candidates import candidates_of, takes
from hetconv.ops.gpu.images import blocked
from hetconv.ops.gpu.product import Epilogue, input_grad_walk
from hetconv.ops.gpu.rows import PackedRows
from hetconv.ops.gpu.run import AnyConfiguration, product_into, unproven
from hetconv.ops.gpu.support import device_of, multiplication
from hetconv.ops.gpu.tuning import tuned
from hetconv.ops.gpu.weights import pack_weights
from hetconv.pattern import HetPattern


def input_grad(
    grad_output: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    input_hw: tuple[int, int],
    pattern: HetPattern,
    where: Geometry,
    configuration: AnyConfiguration | None = None,
) -> Tensor:
    """grad_output (B, N, H', W') → (B, M, *input_hw), channels-last if grad_output is.

    Args:
        configuration: None for the fastest known for these sizes.
    """
    if configuration is None:
        configuration = tuned(
            ("input_grad", pattern, where, input_hw, takes(grad_output)),
            grad_output,
            input_grad_candidates(grad_output, input_hw, pattern, where),
            lambda one: input_grad(grad_output, weight_spatial, weight_pointwise, input_hw, pattern, where, one),
            unproven,
        )
    size = (grad_output.shape[0], pattern.in_channels, *input_hw)
    memory_format = suggest_memory_format(grad_output)
    grad = torch.empty(size, dtype=grad_output.dtype, device=grad_output.device, memory_format=memory_format)
    if grad.numel() == 0:
        return grad
    rows = PackedRows.of(pattern, configuration.merge, configuration.block_k).exchanged()
    packed = pack_weights(weight_spatial, weight_pointwise, pattern, rows, exchanged=True)
    source = blocked(grad_output, pattern.p, pattern.arrangement == "shifted")
    product_into(grad, source, packed, pattern, rows, input_grad_walk(where), configuration, Epilogue())
    return grad


def input_grad_candidates(
    grad_output: Tensor, input_hw: tuple[int, int], pattern: HetPattern, where: Geometry
) -> tuple[AnyConfiguration, ...]:
    """What the input gradient of this call is tried with; the first one needs no check of its values."""
    one_residue = input_hw[0] // where.stride[0], input_hw[1] // where.stride[1]
    dtype = grad_output.dtype
    kind = (dtype, multiplication(dtype), device_of(grad_output.device))
    found = candidates(pattern.out_channels, pattern.in_channels, pattern.p, one_residue, *kind)
    if not takes(grad_output):
        return found
    rows = PackedRows.of(pattern, found[0].merge, found[0].block_k).exchanged()
    hw = (grad_output.shape[2], grad_output.shape[3])
    return found + candidates_of(pattern, rows, hw, input_hw, input_grad_walk(where), dtype)
