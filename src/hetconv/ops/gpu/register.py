"""The operators' CUDA kernels, for PyTorch's dispatcher. Triton is imported when the first of them runs.

What they do not cover goes to the decomposed path, and `why_not` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import prod
from typing import Any

import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.ops.arguments import Geometry, known_structure
from hetconv.ops.dispatch import Ints, arrangement_name, library, ops, without_autocast
from hetconv.ops.gpu.configurations import rows_for
from hetconv.ops.gpu.forward import forward, forward_candidates, forward_packed
from hetconv.ops.gpu.input_grad import input_grad
from hetconv.ops.gpu.product import Epilogue
from hetconv.ops.gpu.support import why_not
from hetconv.ops.gpu.tuning import tuned
from hetconv.ops.gpu.weight_grad import weight_grad
from hetconv.ops.packed import ACTIVATIONS, ON_GPU
from hetconv.pattern import HetPattern


def _structure(
    spatial: torch.Size, pointwise: torch.Size, stride: Ints, padding: Ints, dilation: Ints, shifted: bool
) -> tuple[HetPattern, Geometry]:
    pairs = ((pair[0], pair[1]) for pair in (stride, padding, dilation))
    return known_structure(tuple(spatial), tuple(pointwise), *pairs, arrangement_name(shifted))


def _forward(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    shifted: bool,
) -> Tensor:
    where = (stride, padding, dilation, shifted)
    pattern, place = _structure(weight_spatial.shape, weight_pointwise.shape, *where)
    _check(x, "x", pattern.in_channels, weight_spatial, weight_pointwise, bias)
    output_hw = place.output_hw((x.shape[2], x.shape[3]), pattern.kernel_hw)
    if why_not(x, x.shape[0] * pattern.out_channels * prod(output_hw)) is not None:
        return ops.het_conv2d_decomposed.default(x, weight_spatial, weight_pointwise, bias, *where)  # type: ignore[no-any-return]
    return forward(x, weight_spatial, weight_pointwise, Epilogue(bias), pattern, place)


def _input_grad(
    grad_output: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    input_size: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    shifted: bool,
) -> Tensor:
    where = (stride, padding, dilation, shifted)
    pattern, place = _structure(weight_spatial.shape, weight_pointwise.shape, *where)
    _check(grad_output, "grad_output", pattern.out_channels, weight_spatial, weight_pointwise)
    if why_not(grad_output, grad_output.shape[0] * pattern.in_channels * prod(input_size)) is not None:
        return ops.het_conv2d_input_grad_decomposed.default(  # type: ignore[no-any-return]
            grad_output, weight_spatial, weight_pointwise, input_size, *where
        )
    size = (input_size[0], input_size[1])
    return input_grad(grad_output, weight_spatial, weight_pointwise, size, pattern, place)


def _weight_grad(
    grad_output: Tensor,
    x: Tensor,
    kernel_size: Ints,
    p: int,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    shifted: bool,
) -> tuple[Tensor, Tensor]:
    own = x.shape[1] // p
    spatial = torch.Size((grad_output.shape[1], own, *kernel_size))
    pointwise = torch.Size((grad_output.shape[1], x.shape[1] - own))
    where = (stride, padding, dilation, shifted)
    pattern, place = _structure(spatial, pointwise, *where)
    _check(x, "x", pattern.in_channels, grad_output)
    if why_not(x, grad_output.numel()) is not None:
        return ops.het_conv2d_weight_grad_decomposed.default(grad_output, x, kernel_size, p, *where)  # type: ignore[no-any-return]
    return weight_grad(grad_output, x, pattern, place)


def _packed(x: Tensor, packed: Tensor, bias: Tensor | None, residual: Tensor | None, layer: Ints) -> Tensor:
    out_channels, p, *numbers, shifted, activation = layer
    kernel, stride, padding, dilation = ((numbers[i], numbers[i + 1]) for i in range(0, 8, 2))
    pattern = HetPattern(x.shape[1], out_channels, kernel, p, "shifted" if shifted else "blocked")
    place = Geometry(stride, padding, dilation)
    size = (x.shape[0], out_channels, *place.output_hw((x.shape[2], x.shape[3]), kernel))
    reason = why_not(x, prod(size))
    if reason is not None:
        raise UsageError(f"packed layers on a GPU need the Triton kernels: {reason}")
    rows = rows_for(pattern, x.dtype)
    if packed.shape != (out_channels, rows.row) or packed.dtype != x.dtype or packed.device != x.device:
        raise UsageError(
            f"the weights were not packed for {pattern} in {x.dtype} on {x.device}; move the layer there, convert it "
            f"to the input's type, and pack it again"
        )
    if residual is not None and (residual.shape != size or residual.dtype != x.dtype or residual.device != x.device):
        raise UsageError(
            f"residual is {residual.dtype} {tuple(residual.shape)} on {residual.device}; it must be {x.dtype} {size} "
            f"on {x.device}"
        )
    if ACTIVATIONS[activation] not in ON_GPU:
        raise UsageError(f"activation={ACTIVATIONS[activation]!r} is none of the Triton kernels; apply it after them")
    epilogue = Epilogue(bias, residual, ACTIVATIONS[activation])
    configuration = tuned(
        ("packed", pattern, place, bias is None, residual is None, activation),
        x,
        forward_candidates(x, pattern, place),
        lambda one: forward_packed(x, packed, epilogue, pattern, place, one),
    )
    return forward_packed(x, packed, epilogue, pattern, place, configuration)


def _check(first: Tensor, name: str, channels: int, *others: Tensor | None) -> None:
    """What the kernels take for granted and a call past `het_conv2d` may lack; they would read outside of memory."""
    if first.dim() != 4 or first.shape[1] != channels:
        raise UsageError(
            f"{name} has shape {tuple(first.shape)}; the weights are for (batch, {channels}, height, width)"
        )
    for other in others:
        if other is not None and (other.dtype != first.dtype or other.device != first.device):
            raise UsageError(
                f"{name} is {first.dtype} on {first.device}, and what goes with it {other.dtype} on {other.device}; "
                f"convert one of them"
            )


def _on_its_device(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Triton launches on the present device, which need not be the tensors'."""

    @wraps(kernel)
    def run(first: Tensor, *others: Any) -> Any:
        with torch.cuda.device_of(first):
            return kernel(first, *others)

    return run


_KERNELS: dict[str, Callable[..., Any]] = {
    "het_conv2d": without_autocast(_forward),
    "het_conv2d_input_grad": without_autocast(_input_grad),
    "het_conv2d_weight_grad": without_autocast(_weight_grad),
    "het_conv2d_packed": _packed,
}
for _name, _kernel in _KERNELS.items():
    library.impl(_name, _on_its_device(_kernel), "CUDA")
