"""The operations that a deployed graph may consist of, by name: nothing else is captured, saved or loaded."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch.nn import functional

from hetconv.ops import het_conv2d, native

_FUNCTIONAL = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear celu channel_shuffle conv1d conv2d conv3d conv_transpose1d
conv_transpose2d conv_transpose3d cosine_similarity elu embedding fold gelu glu grid_sample group_norm hardshrink
hardsigmoid hardswish hardtanh instance_norm interpolate layer_norm leaky_relu linear local_response_norm log_softmax
logsigmoid lp_pool1d lp_pool2d max_pool1d max_pool2d max_pool3d mish normalize pad pixel_shuffle pixel_unshuffle prelu
relu relu6 rms_norm scaled_dot_product_attention selu sigmoid silu softmax softmin softplus softshrink softsign tanh
tanhshrink threshold unfold upsample
"""
_TORCH = """
_assert abs add addcmul addmm amax amin arange argmax argmin baddbmm bitwise_not bmm broadcast_to cat ceil celu
channel_shuffle chunk clamp clamp_max clamp_min clip concat cos cumsum div einsum eq erf exp expm1 flatten flip floor
floor_divide full full_like gather ge gt index_select isfinite le linspace log log1p log2 log_softmax logical_and
logical_not logical_or logsumexp lt matmul max maximum mean meshgrid min minimum mm movedim mul narrow ne neg norm ones
ones_like outer permute pow prod reciprocal relu remainder repeat_interleave reshape roll round rsqrt selu sigmoid sign
sin softmax sort split sqrt square squeeze stack std sub sum swapaxes swapdims take_along_dim tanh tile topk transpose
true_divide unbind unsqueeze var var_mean where zeros zeros_like
"""
_OPERATOR = """
abs add and_ eq floordiv ge getitem gt invert le lt matmul mod mul ne neg not_ or_ pos pow sub truediv xor
"""
_METHODS = """
abs add add_ addcmul amax amin argmax argmin bmm bool ceil chunk clamp clamp_max clamp_min clip clone contiguous cos cpu
cumsum detach dim div eq erf exp expand expand_as flatten flip float floor gather ge gt index_select int le log
log_softmax logical_and logical_not logical_or long lt masked_fill matmul max maximum mean min minimum mm movedim mul
narrow ne neg new_full new_ones new_zeros norm numel permute pow prod reciprocal relu repeat repeat_interleave reshape
reshape_as roll round rsqrt sigmoid sign sin size softmax sort split split_with_sizes sqrt square squeeze std sub sum
swapaxes swapdims t take_along_dim tanh tile to topk transpose true_divide type_as unbind unflatten unfold unsqueeze var
where
"""
PACKED = "hetconv.het_conv2d_packed"

METHODS = frozenset(_METHODS.split())
ATTRIBUTES = frozenset(("shape", "ndim", "dtype", "device", "T", "mT"))
"""What `getattr` may ask a tensor for."""


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """The allowed functions by their full names; the packed operator is added where the native kernels are."""
    modules: tuple[tuple[str, ModuleType, str], ...] = (
        ("torch.nn.functional", functional, _FUNCTIONAL),
        ("torch", torch, _TORCH),
        ("operator", operator, _OPERATOR),
    )
    special: dict[str, Callable[..., Any]] = {"hetconv.het_conv2d": het_conv2d, "builtins.getattr": builtins.getattr}
    if native.why_not_loaded() is None:
        special[PACKED] = torch.ops.hetconv.het_conv2d_packed.default
    return special | {
        f"{prefix}.{name}": getattr(module, name) for prefix, module, names in modules for name in names.split()
    }


@cache
def _names() -> dict[Callable[..., Any], str]:
    return {function: name for name, function in reversed(functions().items())}


def name_of(function: Any) -> str | None:
    """The name under which a function is allowed; None if it is not."""
    return _names().get(function)


def describe(function: Any) -> str:
    """A function in words, allowed or not."""
    known = name_of(function)
    if known is not None:
        return known
    return f"{getattr(function, '__module__', None) or 'builtins'}.{getattr(function, '__name__', function)}"
