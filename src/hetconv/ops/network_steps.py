"""The steps of a network that is one native call (`hetconv.ops.native_network`), as plain numbers and tensors.

Value 0 is the images in float32; each step makes the next value. Values of 8 bits are u8, `x = (q − zero) · scale`, in
blocks of 64 channels (csrc/int8/int8.h); values of float32 are channels-last. The steps' arithmetic is defined there
and in csrc/network/steps.h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.ops import native
from hetconv.ops.arguments import Geometry
from hetconv.ops.packed import ACTIVATIONS
from hetconv.ops.weights import to_dense_weight
from hetconv.pattern import HetPattern


@dataclass(frozen=True)
class Affine:
    """What a u8 tensor stands for: (q − zero) · scale."""

    scale: float
    zero: int = 0


NO_SCALE = Affine(1.0)
"""Of float32."""


@dataclass(frozen=True)
class Window:
    """The window that a convolution or a pool moves over an image; each (height, width)."""

    kernel: tuple[int, int]
    where: Geometry
    ceil: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        where = self.where
        return (*self.kernel, *where.stride, *where.padding, *where.dilation, int(self.ceil))


@dataclass(frozen=True)
class Int8Weights:
    """A convolution's weights in 8 bits: spatial (N, M/P, K, K) and pointwise (N, M − M/P), both int8; scale (N)."""

    pattern: HetPattern
    spatial: Tensor
    pointwise: Tensor
    scale: Tensor

    @classmethod
    def of(cls, pattern: HetPattern, spatial: Tensor, pointwise: Tensor, scale: Tensor) -> Int8Weights:
        """Rounded to the nearest multiples of each filter's scale, between −127 and 127."""

        def rounded(weight: Tensor) -> Tensor:
            by_filter = scale.view(-1, *[1] * (weight.dim() - 1))
            return (weight.double() / by_filter.double()).round().clamp(-127, 127).to(torch.int8)

        return cls(pattern, rounded(spatial), rounded(pointwise), scale)

    def dense(self) -> Tensor:
        """(N, M, K, K), zero where the layer has no weight."""
        return to_dense_weight(self.spatial, self.pointwise, self.pattern).contiguous()

    def sums(self) -> Tensor:
        """(N), float64: of each filter's weights."""
        return sum(weight.flatten(1).sum(1, dtype=torch.float64) for weight in (self.spatial, self.pointwise))  # type: ignore[return-value]


@dataclass(frozen=True)
class Step:
    """One step: its kind as csrc/network/make_step.cpp names it, the values it reads, and its arguments in that order.

    The first array of a convolution of 8 bits or of `float_convolution` is its weights as `native.pack_int8_weights` or
    `native.pack_weights` gives them. The native network reads them where they are; other arrays it copies.
    """

    kind: str
    inputs: tuple[int, ...]
    numbers: tuple[int, ...] = ()
    reals: tuple[float, ...] = ()
    arrays: tuple[Tensor, ...] = ()

    @classmethod
    def of_natural(
        cls, kind: str, inputs: tuple[int, ...], numbers: tuple[int, ...], reals: tuple[float, ...],
        arrays: tuple[Tensor, ...],
    ) -> Step:  # fmt: skip
        """The step whose `natural_arrays` these are: its weights are packed for this machine.

        Raises:
            UsageError: they are no step's.
        """
        made = cls(kind, inputs, numbers, reals, arrays)
        if kind not in PACKED:
            return made
        if len(numbers) < PATTERN_NUMBERS:
            raise UsageError(f"{len(numbers)} numbers are no {kind}")
        pattern = _pattern(numbers)
        if [tuple(array.shape) for array in arrays[:2]] != [pattern.spatial_shape, pattern.pointwise_shape]:
            raise UsageError(f"its weights are not those of {pattern}")
        pack = native.pack_int8_weights if kind == "int8_convolution" else native.pack_weights
        return replace(made, arrays=(pack(arrays[0], arrays[1], pattern), *arrays[2:]))

    @property
    def natural_arrays(self) -> tuple[Tensor, ...]:
        """The arrays, with spatial and pointwise weights as the layer has them in place of packed ones.

        Raises:
            UsageError: they were packed for another instruction set than this process runs.
        """
        if self.kind not in PACKED:
            return self.arrays
        return (*native.unpack_weights(self.arrays[0], _pattern(self.numbers)), *self.arrays[1:])

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """How many inputs, numbers, reals and arrays it has."""
        return len(self.inputs), len(self.numbers), len(self.reals), len(self.arrays)


PACKED = ("int8_convolution", "float_convolution")
"""Kinds whose first array is packed weights. Their numbers begin with those of the pattern and the window."""
PATTERN_NUMBERS = 13
ELEMENT_TYPES = (torch.float32, torch.int32, torch.uint8, torch.int8)
"""Of arrays, in the order of csrc/network/make_step.h."""


def _pattern(numbers: Sequence[int]) -> HetPattern:
    return HetPattern(
        numbers[0], numbers[1], (numbers[3], numbers[4]), numbers[2], "shifted" if numbers[12] else "blocked"
    )


def _layer_numbers(pattern: HetPattern, where: Geometry) -> tuple[int, ...]:
    shifted = int(pattern.arrangement == "shifted")
    return (
        pattern.in_channels, pattern.out_channels, pattern.p, *Window(pattern.kernel_hw, where).numbers, shifted
    )  # fmt: skip


def quantize(value: int, to: Affine) -> Step:
    return Step("quantize", (value,), (to.zero,), (1 / to.scale,))


def dequantize(value: int, of: Affine) -> Step:
    return Step("dequantize", (value,), (of.zero,), (of.scale,))


MOST_FLOAT_CHANNELS = 16


def int8_convolution(
    value: int,
    of: Affine,
    weights: Int8Weights,
    bias: Tensor,
    where: Geometry,
    to: Affine | None,
    residual: tuple[int, Affine] | None = None,
    activation: str | None = None,
    from_float: bool = False,
) -> Step:
    """activation(convolution + bias + residual), of 8 bits where `to` says which, else of float32.

    Args:
        of: of the input, and of what pads it.
        bias: (N), float32.
        residual: a u8 value that is added, and what it stands for.
        activation: relu, relu6 or None.
        from_float: the value is of float32, and quantized as it is read; for P = 1 and MOST_FLOAT_CHANNELS channels.

    Raises:
        UsageError: the bias is too large for 32 bits at the products' scale, or the activation is another one.
    """
    if activation not in (None, "relu", "relu6"):
        raise UsageError(f"activation={activation!r} is no part of a convolution of 8 bits; relu and relu6 are")
    product = weights.scale.double() * of.scale
    start = (bias.double() / product).round() - of.zero * weights.sums()
    if not bool((start.abs() < 2**31).all()):
        raise UsageError("a bias exceeds 32 bits at the scale of the products of 8 bits")
    out_scale = 1.0 if to is None else to.scale
    zero = 0 if to is None else to.zero
    added = (0, Affine(0.0)) if residual is None else residual
    numbers = (
        *_layer_numbers(weights.pattern, where),
        of.zero, int(to is None), int(residual is not None), added[1].zero, zero,
    )  # fmt: skip
    return Step.of_natural(
        "int8_convolution",
        (value,) if residual is None else (value, added[0]),
        numbers,
        (added[1].scale / out_scale, *_clamp(activation, to), 1 / of.scale if from_float else 0.0),
        (weights.spatial, weights.pointwise, start.to(torch.int32), (product / out_scale).float()),
    )


def _clamp(activation: str | None, to: Affine | None) -> tuple[float, float]:
    """Least and most of what is stored."""
    if to is None:
        return (0.0 if activation else -math.inf), (6.0 if activation == "relu6" else math.inf)
    most = min(255, to.zero + round(6 / to.scale)) if activation == "relu6" else 255
    return float(to.zero if activation else 0), float(most)


def float_convolution(
    value: int,
    pattern: HetPattern,
    spatial: Tensor,
    pointwise: Tensor,
    bias: Tensor,
    where: Geometry,
    activation: str | None = None,
    residual: int | None = None,
) -> Step:
    packed = native.pack_weights(spatial, pointwise, pattern)
    return packed_convolution(value, pattern, packed, bias.detach().float(), where, activation, residual)


def packed_convolution(
    value: int,
    pattern: HetPattern,
    packed: Tensor,
    bias: Tensor,
    where: Geometry,
    activation: str | None = None,
    residual: int | None = None,
) -> Step:
    """A `float_convolution` of weights that `native.pack_weights` gave."""
    numbers = (*_layer_numbers(pattern, where), int(residual is not None), ACTIVATIONS.index(activation))
    return Step("float_convolution", _read(value, residual), numbers, (), (packed, bias))


def _read(value: int, residual: int | None) -> tuple[int, ...]:
    return (value,) if residual is None else (value, residual)


def grouped_convolution(
    value: int,
    weight: Tensor,
    bias: Tensor,
    window: Window,
    groups: int,
    activation: str | None = None,
    residual: int | None = None,
) -> Step:
    """A standard convolution in groups, or with a kernel of even size, in float32. weight: (N, M / groups, Kh, Kw)"""
    numbers = (
        weight.shape[1] * groups, weight.shape[0], groups, *window.numbers, int(residual is not None),
        ACTIVATIONS.index(activation),
    )  # fmt: skip
    arrays = (weight.detach().float().contiguous(), bias.detach().float().contiguous())
    return Step("grouped_convolution", _read(value, residual), numbers, (), arrays)


Joining = Literal["sum", "product", "difference", "quotient", "maximum", "minimum"]
"""Functions of two values."""


def float_join(a: int, b: int, joining: Joining, activation: str | None = None) -> Step:
    """activation(a + b), or of another function, in float32; b may be one pixel that stands for all of its image."""
    return Step("float_join", (a, b), (get_args(Joining).index(joining), ACTIVATIONS.index(activation)))


def float_affine(value: int, scale: Tensor, shift: Tensor, activation: str | None = None) -> Step:
    """activation(x · scale + shift) in float32; both (C), or both of one number."""
    arrays = (scale.detach().float().contiguous(), shift.detach().float().contiguous())
    return Step("float_affine", (value,), (len(scale), ACTIVATIONS.index(activation)), (), arrays)


def with_activation(step: Step, activation: str) -> Step | None:
    """The step with this activation at its end; None where it has one already or is of a kind that takes none."""
    place = _ACTIVATION_AT.get(step.kind)
    if place is None or step.numbers[place] != 0:
        return None
    numbers = list(step.numbers)
    numbers[place] = ACTIVATIONS.index(activation)
    return replace(step, numbers=tuple(numbers))


_ACTIVATION_AT = {"float_convolution": 14, "grouped_convolution": 13, "float_join": 1, "float_affine": 1}


def max_pool(value: int, window: Window) -> Step:
    return Step("max_pool", (value,), window.numbers)


def average_pool(value: int, window: Window, of: Affine = NO_SCALE, count_padding: bool = True) -> Step:
    return Step("average_pool", (value,), (*window.numbers, of.zero, int(count_padding)))


def global_average(value: int, of: Affine) -> Step:
    """The mean of each channel, as float32."""
    return Step("global_average", (value,), (of.zero,), (of.scale,))


def add(terms: Sequence[tuple[int, Affine]], to: Affine, activation: str | None = None) -> Step:
    """activation(the sum of one or two u8 values), at another scale."""
    least, most = _clamp(activation, to)
    zeros = tuple(of.zero for _, of in terms)
    return Step(
        "add",
        tuple(value for value, _ in terms),
        (to.zero, int(least), int(most), *zeros),
        tuple(of.scale / to.scale for _, of in terms),
    )


def table(value: int, levels: Tensor) -> Step:
    """levels[x] of a u8 value, at another scale. levels: (256), uint8"""
    return Step("table", (value,), arrays=(levels,))


def product(a: tuple[int, Affine], b: tuple[int, Affine], to: Affine) -> Step:
    """The product of two u8 values, at another scale; b may be one pixel that stands for all of its image."""
    return Step("product", (a[0], b[0]), (a[1].zero, b[1].zero, to.zero), (a[1].scale * b[1].scale / to.scale,))


def adaptive_average(value: int, size: tuple[int, int]) -> Step:
    """Means of a float32 value's channels over as many parts of the image."""
    return Step("adaptive_average", (value,), size)


def concatenate(values: Sequence[int]) -> Step:
    """The channels of several values of one type; of u8, of one scale and zero."""
    return Step("concatenate", tuple(values))


def pad_channels(value: int, before: int, after: int, of: Affine = NO_SCALE) -> Step:
    """More channels before and after those of a value, all 0."""
    return Step("pad_channels", (value,), (before, after, of.zero))


def pad_image(value: int, top: int, bottom: int, left: int, right: int, of: Affine = NO_SCALE) -> Step:
    """Zeros around an image."""
    return Step("pad_image", (value,), (top, bottom, left, right, of.zero))


def select_channels(value: int, channels: Sequence[int]) -> Step:
    """Some of a value's channels, in this order."""
    return Step("select_channels", (value,), (len(channels),), (), (torch.tensor(channels, dtype=torch.int32),))


def layer_norm(value: int, epsilon: float, weight: Tensor, bias: Tensor) -> Step:
    """Layer norm over the channels of each pixel of a float32 value. weight, bias: (C)"""
    arrays = (weight.detach().float().contiguous(), bias.detach().float().contiguous())
    return Step("layer_norm", (value,), (len(weight),), (epsilon,), arrays)


Sampling = Literal["nearest", "nearest-exact", "bilinear", "bilinear, corners aligned"]


@dataclass(frozen=True)
class Resizing:
    """How images get another size: (height, width) of the output, or the scales of both."""

    sampling: Sampling
    size: tuple[int, int] = (0, 0)
    scale: tuple[float, float] = (0.0, 0.0)


def resize(value: int, resizing: Resizing, like: int | None = None) -> Step:
    """Images of another size, of the same type; of that of `like` where it is given. u8 is the nearest integer."""
    numbers = (get_args(Sampling).index(resizing.sampling), *resizing.size)
    return Step("resize", _read(value, like), numbers, resizing.scale)


def flatten(value: int, wanted: int | None = None) -> Step:
    """An image's numbers as channels: as many as `wanted`, else the images are refused."""
    return Step("flatten", (value,)) if wanted is None else Step("flatten_to", (value,), (wanted,))
