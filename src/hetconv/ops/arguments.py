"""What a call of `het_conv2d` means: its arguments checked once and brought to one form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.ops.transforms import untraced
from hetconv.pattern import ARRANGEMENTS, MOST, HetPattern

Size2 = int | tuple[int, int]
Padding = Size2 | str
"""Pixels, or "same" or "valid"."""


@dataclass(frozen=True)
class Geometry:
    """Stride, padding and dilation as (height, width), in pixels."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_hw(self, input_hw: tuple[int, int], kernel_hw: tuple[int, int]) -> tuple[int, int]:
        """Output (height, width), as `torch.nn.Conv2d` defines it."""
        height, width = (
            (size + 2 * pad - dilation * (k - 1) - 1) // stride + 1
            for size, pad, dilation, k, stride in zip(
                input_hw, self.padding, self.dilation, kernel_hw, self.stride, strict=True
            )
        )
        return height, width


def pair(name: str, value: Size2, minimum: int) -> tuple[int, int]:
    """One number or two as (height, width), each from `minimum` to what kernels can compute with."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise UsageError(f"{name}={value} must be one number or two (height, width)")
    if any(not isinstance(v, int) or isinstance(v, bool) or v < minimum for v in both):
        raise UsageError(f"{name}={value!r} must be an integer of at least {minimum}")
    if max(both) > MOST:
        raise UsageError(f"{name}={value} must be at most {MOST}")
    return both[0], both[1]


def same_padding(kernel_hw: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """The padding with which stride 1 keeps the size; exact, since kernel sizes are odd."""
    return dilation[0] * (kernel_hw[0] // 2), dilation[1] * (kernel_hw[1] // 2)


def geometry(stride: Size2, padding: Padding, dilation: Size2, kernel_hw: tuple[int, int]) -> Geometry:
    """Check stride, padding and dilation.

    Raises:
        UsageError: one of them is out of its range, or padding="same" is asked for with a stride above 1.
    """
    strides = pair("stride", stride, 1)
    dilations = pair("dilation", dilation, 1)
    if not isinstance(padding, str):
        return Geometry(strides, pair("padding", padding, 0), dilations)
    if padding not in ("same", "valid"):
        raise UsageError(f"padding={padding!r} must be 'same', 'valid', or numbers")
    if padding == "valid":
        return Geometry(strides, (0, 0), dilations)
    if strides != (1, 1):
        raise UsageError(f"padding='same' needs stride=1, not stride={stride}; give padding as a number")
    return Geometry(strides, same_padding(kernel_hw, dilations), dilations)


def prepare(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor | None,
    bias: Tensor | None,
    stride: Size2,
    padding: Padding,
    dilation: Size2,
    arrangement: str,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor | None], HetPattern, Geometry]:
    """The call's tensors, x as a batch and all in autocast's type, with their structure and their geometry.

    No pointwise weights become (N, 0).

    Raises:
        UsageError: the arguments are not those of one call.
    """
    dtype = _autocast_dtype(x.device.type)
    batch = _cast(x[None] if x.dim() == 3 else x, dtype)
    weights = _cast(weight_spatial, dtype), _cast(both_weights(weight_spatial, weight_pointwise)[1], dtype)
    bias = None if bias is None else _cast(bias, dtype)
    pattern, where = _checked(batch, weights, bias, stride, padding, dilation, arrangement)
    return (batch, *weights, bias), pattern, where


def both_weights(weight_spatial: Tensor, weight_pointwise: Tensor | None) -> tuple[Tensor, Tensor]:
    """As the operator takes them: a layer with P=1 has no pointwise weights, and the operator (N, 0)."""
    if weight_pointwise is None:
        weight_pointwise = weight_spatial.new_empty(weight_spatial.shape[0], 0)
    return weight_spatial, weight_pointwise


@untraced
def _checked(
    batch: Tensor,
    weights: tuple[Tensor, Tensor],
    bias: Tensor | None,
    stride: Size2,
    padding: Padding,
    dilation: Size2,
    arrangement: str,
) -> tuple[HetPattern, Geometry]:
    pattern, where = _structure(weights, stride, padding, dilation, arrangement)
    _check_tensors(batch, *weights, bias, pattern, where)
    return pattern, where


def _structure(
    weights: tuple[Tensor, Tensor], stride: Size2, padding: Padding, dilation: Size2, arrangement: str
) -> tuple[HetPattern, Geometry]:
    shapes = tuple(weights[0].shape), tuple(weights[1].shape)
    if torch.compiler.is_compiling():  # sizes may be symbols, which cannot be looked up
        return _make_structure(*shapes, stride, padding, dilation, arrangement)
    try:
        return known_structure(*shapes, stride, padding, dilation, arrangement)
    except TypeError:  # symbols, lists
        return _make_structure(*shapes, stride, padding, dilation, arrangement)


def _make_structure(
    spatial: tuple[int, ...],
    pointwise: tuple[int, ...],
    stride: Size2,
    padding: Padding,
    dilation: Size2,
    arrangement: str,
) -> tuple[HetPattern, Geometry]:
    pattern = pattern_of(spatial, pointwise, arrangement)
    return pattern, geometry(stride, padding, dilation, pattern.kernel_hw)


known_structure = lru_cache(maxsize=4096, typed=True)(_make_structure)
"""Pattern and geometry of weights of these shapes; looked up at every call, so made once."""


def _autocast_dtype(device: str) -> torch.dtype | None:
    """The type in which `torch.autocast` wants convolutions; None outside of it."""
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """As for PyTorch's own convolutions: autocast leaves float64 and all that is not floating-point alone."""
    if dtype is None or tensor.dtype == torch.float64 or not tensor.is_floating_point():
        return tensor
    return tensor.to(dtype)


def pattern_of(spatial_shape: tuple[int, ...], pointwise_shape: tuple[int, ...], arrangement: str) -> HetPattern:
    """Recover the layer's structure from the shapes of its weights.

    Raises:
        UsageError: the two weights are not those of one layer.
    """
    if arrangement not in ARRANGEMENTS:
        raise UsageError(f"arrangement={arrangement!r} must be one of {', '.join(ARRANGEMENTS)}")
    if len(spatial_shape) != 4 or len(pointwise_shape) != 2:
        raise UsageError(
            f"weight_spatial must be (N, M/P, K, K) and weight_pointwise (N, M - M/P), not {spatial_shape} and "
            f"{pointwise_shape}"
        )
    out_channels, spatial, kernel_height, kernel_width = spatial_shape
    if pointwise_shape[0] != out_channels:
        raise UsageError(
            f"weight_spatial has {out_channels} filters and weight_pointwise {pointwise_shape[0]}; "
            f"both must have the same number"
        )
    in_channels = spatial + pointwise_shape[1]
    if spatial < 1 or in_channels % spatial:
        raise UsageError(
            f"weight_spatial has {spatial} channels of {in_channels} (with weight_pointwise's); it must have M/P of M"
        )
    return HetPattern(
        in_channels,
        out_channels,
        (kernel_height, kernel_width),
        in_channels // spatial,
        "shifted" if arrangement == "shifted" else "blocked",
    )


def _check_tensors(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    bias: Tensor | None,
    pattern: HetPattern,
    where: Geometry,
) -> None:
    """Check that the input, the weights and the bias go together.

    Raises:
        UsageError: a shape, type or device does not fit, or the kernel is larger than the padded input.
    """
    if x.dim() != 4:
        raise UsageError(f"x has shape {tuple(x.shape)}; it must be (batch, channels, height, width), or without batch")
    if x.is_complex():
        raise UsageError(f"x is {x.dtype}; het_conv2d computes real numbers only")
    if x.shape[1] != pattern.in_channels:
        raise UsageError(f"x has {x.shape[1]} channels; the weights are for in_channels={pattern.in_channels}")
    if bias is not None and bias.shape != (pattern.out_channels,):
        raise UsageError(f"bias has shape {tuple(bias.shape)}; it must be ({pattern.out_channels},)")
    named = {"weight_spatial": weight_spatial, "weight_pointwise": weight_pointwise, "bias": bias}
    for name, tensor in named.items():
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise UsageError(
                f"{name} is {tensor.dtype} on {tensor.device} and x is {x.dtype} on {x.device}; convert one of them"
            )
    if min(where.output_hw((x.shape[2], x.shape[3]), pattern.kernel_hw)) < 1:
        raise UsageError(
            f"kernel_size={pattern.kernel_hw} with dilation={where.dilation} is larger than the input "
            f"{tuple(x.shape[2:])} with padding={where.padding}; pad more or feed a larger input"
        )
