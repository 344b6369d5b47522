"""`het_conv2d` as a PyTorch operator: schema, fake kernels, gradients, FLOP formulas.

Three operators, each linear in its tensors and each the others' gradient, so gradients of any order are defined:

    het_conv2d(x, w)          → y          forward
    het_conv2d_input_grad(g, w) → x-like
    het_conv2d_weight_grad(g, x) → w-like

The kernels registered here are the decomposed ones, for every device; faster ones register for theirs, and call
`…_decomposed` for types they do not have. A kernel's
outputs are in the memory format of its first tensor, weights contiguous; their strides are exactly those that
`torch.empty` gives, also along dimensions of size 0 or 1, for this is what the fake kernels promise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import make_channels_last_2d_strides_for, make_contiguous_strides_for, suggest_memory_format

from hetconv.ops import decomposed, native
from hetconv.ops.arguments import Geometry, pattern_of
from hetconv.ops.flops import register_flops
from hetconv.ops.transforms import is_traced

_GEOMETRY = "SymInt[2] stride, SymInt[2] padding, SymInt[2] dilation, bool shifted"
_WEIGHTS = "Tensor weight_spatial, Tensor weight_pointwise"

library = torch.library.Library("hetconv", "DEF")
for _schema in (
    f"het_conv2d(Tensor x, {_WEIGHTS}, Tensor? bias, {_GEOMETRY}) -> Tensor",
    f"het_conv2d_input_grad(Tensor grad_output, {_WEIGHTS}, SymInt[2] input_size, {_GEOMETRY}) -> Tensor",
    "het_conv2d_weight_grad(Tensor grad_output, Tensor x, SymInt[2] kernel_size, SymInt p, "
    f"{_GEOMETRY}) -> (Tensor, Tensor)",
):
    library.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.define(_schema.replace("(", "_decomposed(", 1), tags=(torch.Tag.pt2_compliant_tag,))
native.why_not_loaded()  # loads them: they register for the operators just defined

Ints = list[int]


def arrangement_name(shifted: bool) -> str:
    return "shifted" if shifted else "blocked"


def where(stride: Ints, padding: Ints, dilation: Ints) -> Geometry:
    return Geometry((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]))


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
    if x.device.type == "cpu" and x.dtype in native.DTYPES:
        native.warn_if_missing()
    pattern = pattern_of(weight_spatial.shape, weight_pointwise.shape, arrangement_name(shifted))
    y = decomposed.het_conv2d(x, weight_spatial, weight_pointwise, bias, pattern, where(stride, padding, dilation))
    return _laid_out(y, suggest_memory_format(x))


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
    pattern = pattern_of(weight_spatial.shape, weight_pointwise.shape, arrangement_name(shifted))
    size = (input_size[0], input_size[1])
    grad = decomposed.input_grad(
        grad_output, weight_spatial, weight_pointwise, size, pattern, where(stride, padding, dilation)
    )
    return _laid_out(grad, suggest_memory_format(grad_output))


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
    empty_spatial, empty_pointwise = _fake_weight_grad(
        grad_output, x, kernel_size, p, stride, padding, dilation, shifted
    )
    pattern = pattern_of(empty_spatial.shape, empty_pointwise.shape, arrangement_name(shifted))
    spatial, pointwise = decomposed.weight_grad(grad_output, x, pattern, where(stride, padding, dilation))
    return _laid_out(spatial), _laid_out(pointwise)


def _laid_out(tensor: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    channels_last = memory_format == torch.channels_last
    strides = (make_channels_last_2d_strides_for if channels_last else make_contiguous_strides_for)(tensor.shape)
    return tensor.contiguous(memory_format=memory_format).as_strided(tensor.shape, strides)


def without_autocast(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Inside a kernel the types are decided: a backward pass under autocast stays in the forward pass's type."""

    @wraps(kernel)
    def run(first: Tensor, *others: Any) -> Any:
        device = first.device.type
        if not torch.is_autocast_enabled(device):
            return kernel(first, *others)
        with torch.autocast(device, enabled=False):
            return kernel(first, *others)

    return run


for _name, _kernel in (
    ("het_conv2d", _forward),
    ("het_conv2d_input_grad", _input_grad),
    ("het_conv2d_weight_grad", _weight_grad),
):
    for _operator in (_name, f"{_name}_decomposed"):
        library.impl(_operator, without_autocast(_kernel), "CompositeExplicitAutograd")


@torch.library.register_fake("hetconv::het_conv2d", lib=library)
def _fake_forward(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    shifted: bool,
) -> Tensor:
    kernel_hw = (weight_spatial.shape[2], weight_spatial.shape[3])
    height, width = where(stride, padding, dilation).output_hw((x.shape[2], x.shape[3]), kernel_hw)
    size = (x.shape[0], weight_spatial.shape[0], height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=suggest_memory_format(x))


@torch.library.register_fake("hetconv::het_conv2d_input_grad", lib=library)
def _fake_input_grad(
    grad_output: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    input_size: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    shifted: bool,
) -> Tensor:
    size = (grad_output.shape[0], weight_spatial.shape[1] + weight_pointwise.shape[1], *input_size)
    memory_format = suggest_memory_format(grad_output)
    return torch.empty(size, dtype=grad_output.dtype, device=grad_output.device, memory_format=memory_format)


@torch.library.register_fake("hetconv::het_conv2d_weight_grad", lib=library)
def _fake_weight_grad(
    grad_output: Tensor,
    x: Tensor,
    kernel_size: Ints,
    p: int,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    shifted: bool,
) -> tuple[Tensor, Tensor]:
    out_channels, in_channels = grad_output.shape[1], x.shape[1]
    spatial = in_channels // p
    return x.new_empty((out_channels, spatial, *kernel_size)), x.new_empty((out_channels, in_channels - spatial))


ops = torch.ops.hetconv


class _HetConv2d(torch.autograd.Function):
    """The operator with its gradients, in a third of the time that `torch.library`'s own wrapper takes for a call."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_spatial: Tensor, weight_pointwise: Tensor, bias: Tensor | None, *geometry: Any
    ) -> Tensor:
        _save_forward(ctx, (x, weight_spatial, weight_pointwise, bias, *geometry), x)
        with torch._C._AutoDispatchBelowAutograd():
            return ops.het_conv2d.default(x, weight_spatial, weight_pointwise, bias, *geometry)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # for gradients of gradients
            return _backward_forward(ctx, grad)
        with torch._C._AutoDispatchBelowAutograd():
            return _backward_forward(ctx, grad)


def het_conv2d(
    x: Tensor, weight_spatial: Tensor, weight_pointwise: Tensor, bias: Tensor | None, where: Geometry, shifted: bool
) -> Tensor:
    """Call the operator: by its name where a compiler looks on, else past what costs time."""
    arguments = (x, weight_spatial, weight_pointwise, bias, where.stride, where.padding, where.dilation, shifted)
    if torch.compiler.is_compiling() or is_traced():
        return ops.het_conv2d(*arguments)  # type: ignore[no-any-return]
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in arguments[:4]):
        return _HetConv2d.apply(*arguments)  # type: ignore[no-any-return]
    return ops.het_conv2d.default(*arguments)  # type: ignore[no-any-return]


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight_spatial, weight_pointwise, bias, *ctx.geometry = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, weight_spatial, weight_pointwise)


def _backward_forward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, spatial, pointwise = ctx.saved_tensors
    need_x, need_spatial, need_pointwise, need_bias = ctx.needs_input_grad[:4]
    grad_x = ops.het_conv2d_input_grad.default(grad, spatial, pointwise, x.shape[2:], *ctx.geometry) if need_x else None
    grad_spatial, grad_pointwise = (
        ops.het_conv2d_weight_grad.default(grad, x, spatial.shape[2:], x.shape[1] // spatial.shape[1], *ctx.geometry)
        if need_spatial or need_pointwise
        else (None, None)
    )
    grad_bias = grad.sum((0, 2, 3)) if ctx.has_bias and need_bias else None
    return grad_x, grad_spatial, grad_pointwise, grad_bias, None, None, None, None


def _save_input_grad(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, weight_spatial, weight_pointwise, _, *ctx.geometry = inputs
    ctx.save_for_backward(grad_output, weight_spatial, weight_pointwise)


def _backward_input_grad(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_output, spatial, pointwise = ctx.saved_tensors
    need_output, need_spatial, need_pointwise = ctx.needs_input_grad[:3]
    grad_grad_output = ops.het_conv2d.default(grad, spatial, pointwise, None, *ctx.geometry) if need_output else None
    grad_spatial, grad_pointwise = (
        ops.het_conv2d_weight_grad.default(
            grad_output, grad, spatial.shape[2:], grad.shape[1] // spatial.shape[1], *ctx.geometry
        )
        if need_spatial or need_pointwise
        else (None, None)
    )
    return grad_grad_output, grad_spatial, grad_pointwise, None, None, None, None, None


def _save_weight_grad(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    grad_output, x, _, _, *ctx.geometry = inputs
    ctx.save_for_backward(grad_output, x)


def _backward_weight_grad(ctx: Any, grad_spatial: Tensor, grad_pointwise: Tensor) -> tuple[Tensor | None, ...]:
    grad_output, x = ctx.saved_tensors
    need_output, need_x = ctx.needs_input_grad[:2]
    grad_grad_output = (
        ops.het_conv2d.default(x, grad_spatial, grad_pointwise, None, *ctx.geometry) if need_output else None
    )
    grad_x = (
        ops.het_conv2d_input_grad.default(grad_output, grad_spatial, grad_pointwise, x.shape[2:], *ctx.geometry)
        if need_x
        else None
    )
    return grad_grad_output, grad_x, None, None, None, None, None, None


for _name, _backward, _save in (
    ("het_conv2d", _backward_forward, _save_forward),
    ("het_conv2d_input_grad", _backward_input_grad, _save_input_grad),
    ("het_conv2d_weight_grad", _backward_weight_grad, _save_weight_grad),
):
    torch.library.register_autograd(f"hetconv::{_name}", _backward, setup_context=_save, lib=library)


def _flops(x_shape: Ints, spatial_shape: Ints, pointwise_shape: Ints, *_: Any, out_shape: Ints, **__: Any) -> int:
    positions = out_shape[0] * out_shape[2] * out_shape[3]
    return 2 * positions * _weights(spatial_shape, pointwise_shape)


def _flops_input_grad(grad_shape: Ints, spatial_shape: Ints, pointwise_shape: Ints, *_: Any, **__: Any) -> int:
    positions = grad_shape[0] * grad_shape[2] * grad_shape[3]
    return 2 * positions * _weights(spatial_shape, pointwise_shape)


def _flops_weight_grad(grad_shape: Ints, *_: Any, out_shape: tuple[Ints, Ints], **__: Any) -> int:
    positions = grad_shape[0] * grad_shape[2] * grad_shape[3]
    return 2 * positions * _weights(*out_shape)


def _weights(spatial_shape: Ints, pointwise_shape: Ints) -> int:
    """Every weight is used once for each output position."""
    out_channels, spatial, height, width = spatial_shape
    return out_channels * (spatial * height * width + pointwise_shape[1])


register_flops({
    ops.het_conv2d: _flops,
    ops.het_conv2d_input_grad: _flops_input_grad,
    ops.het_conv2d_weight_grad: _flops_weight_grad,
})  # fmt: skip
