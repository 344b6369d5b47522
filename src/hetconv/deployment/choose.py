"""Which is faster for a standard convolution and what joins it, PyTorch's kernels or ours: measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hetconv.clock import Name, agree, medians, times_in_turns, wall
from hetconv.ops.arguments import Geometry
from hetconv.ops.native import choose_algorithm, pack_weights
from hetconv.ops.native_network import Network
from hetconv.ops.network_steps import Affine, Int8Weights, global_average, int8_convolution, quantize
from hetconv.ops.packed import het_conv2d_packed, layer_numbers
from hetconv.pattern import HetPattern

ROUNDS = 9
SAMPLE_MS = 2.0
"""A sample repeats the call until it lasts about this long, so that the clock's grain does not matter."""
LAYER_SECONDS = 0.4
"""About how long a layer is measured; after that, three rounds are enough."""
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "relu6": lambda x: functional.relu6(x, inplace=True),
    "silu": lambda x: functional.silu(x, inplace=True),
    "hardswish": lambda x: functional.hardswish(x, inplace=True),
    "hardsigmoid": lambda x: functional.hardsigmoid(x, inplace=True),
    "sigmoid": torch.sigmoid_,
    "gelu": functional.gelu,
}


@dataclass(frozen=True)
class Work:
    """A layer as it is measured: what it computes, on which input, and what joins it."""

    pattern: HetPattern
    where: Geometry
    input_shape: tuple[int, ...]
    residual: bool
    activation: str | None


@dataclass(frozen=True)
class Times:
    """Medians of interleaved rounds, in milliseconds.

    Attributes:
        certain: whether the same one is faster in nearly all rounds.
    """

    native_ms: float
    torch_ms: float
    certain: bool = True


@dataclass
class Chooser:
    """Measures each distinct layer once."""

    found: dict[Work, Times] = field(default_factory=dict)

    def native_wins(self, works: Sequence[Work]) -> bool:
        """Whether these layers together are faster on the packed operator, or none of both is for certain."""
        found = [self.times(work) for work in works]
        if not all(times.certain for times in found):
            return True
        return sum(times.native_ms for times in found) <= sum(times.torch_ms for times in found)

    def times(self, work: Work) -> Times:
        """The layer on the packed operator and on PyTorch's convolution, channels-last, with the present threads."""
        if work not in self.found:
            with torch.no_grad():
                self.found[work] = _measure(work)
        return self.found[work]


@dataclass
class AllNative(Chooser):
    """Takes the packed operator for every layer; what another chooser measured is known."""

    def native_wins(self, works: Sequence[Work]) -> bool:
        return True


def call_is_faster(one_call: Callable[[], Any], calls: Callable[[], Any]) -> tuple[bool, Times]:
    """Whether a network is to be one native call and not calls of its own, and how long both take; where chance decides
    which is faster, it is."""
    found = _pair(lambda: _times({"one": one_call, "many": calls}).values())
    return not found.certain or found.native_ms <= found.torch_ms, found


def _measure(work: Work) -> Times:
    return _pair(lambda: _rounds(work, [work.pattern]).values())


def _pair(measure: Callable[[], Iterable[list[float]]]) -> Times:
    """Once more where rounds disagree: the machine was busy, or the two are alike."""
    for _ in range(2):
        native, other = measure()
        certain = agree(native, other)
        if certain:
            break
    return Times(statistics.median(native), statistics.median(other), certain)


@dataclass(frozen=True)
class FormTimes:
    """Medians of interleaved rounds, in milliseconds: of each pattern on the packed operator, and of PyTorch's
    standard convolution."""

    native_ms: tuple[float, ...]
    torch_ms: float


def form_times(work: Work, patterns: Sequence[HetPattern]) -> FormTimes:
    """The standard convolution of a layer on PyTorch's kernels, and layers of these patterns in its place."""
    *native_ms, torch_ms = medians(_rounds(work, patterns)).values()
    return FormTimes(tuple(native_ms), torch_ms)


def int8_times(work: Work, patterns: Sequence[HetPattern]) -> tuple[float, ...]:
    """Milliseconds of layers of these patterns in 8 bits, each with what brings images to 8 bits and back: that is the
    same for all of them. A residual and other activations than relu are left out, for the same reason."""
    x = torch.randn(work.input_shape, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    layers = {number: partial(_int8_layer(work, pattern), x) for number, pattern in enumerate(patterns)}
    return tuple(medians(_times(layers)).values())


def _int8_layer(work: Work, pattern: HetPattern) -> Network:
    generator = torch.Generator().manual_seed(0)
    spatial, pointwise = (
        torch.randn(shape, generator=generator) for shape in (pattern.spatial_shape, pattern.pointwise_shape)
    )
    scale = torch.full((pattern.out_channels,), 4 / 127)
    weights, bias, of = Int8Weights.of(pattern, spatial, pointwise, scale), torch.zeros(len(scale)), Affine(1 / 32, 128)
    steps = [
        quantize(0, of),
        int8_convolution(1, of, weights, bias, work.where, of, None, "relu" if work.activation == "relu" else None),
        global_average(2, of),
    ]
    return Network(pattern.in_channels, steps)


def _rounds(work: Work, patterns: Sequence[HetPattern]) -> dict[int, list[float]]:
    """Milliseconds by round: of each pattern on the packed operator, and last of PyTorch's standard convolution."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(work.input_shape, generator=generator).contiguous(memory_format=torch.channels_last)
    bias = torch.randn(work.pattern.out_channels, generator=generator)
    where = work.where
    residual = None
    if work.residual:
        size = (x.shape[0], len(bias), *where.output_hw((x.shape[2], x.shape[3]), work.pattern.kernel_hw))
        residual = torch.randn(size, generator=generator).contiguous(memory_format=torch.channels_last)
    shape = (len(bias), work.pattern.in_channels, *work.pattern.kernel_hw)
    weight = (torch.randn(shape, generator=generator) / work.pattern.weights).contiguous(
        memory_format=torch.channels_last
    )

    def pytorch() -> None:
        y = functional.conv2d(x, weight, bias, where.stride, where.padding, where.dilation)
        if residual is not None:
            y += residual
        if work.activation is not None:
            _ACTIVATIONS[work.activation](y)

    def ours(pattern: HetPattern) -> Callable[[], None]:
        algorithm = choose_algorithm(pattern, where, (x.shape[0], x.shape[2], x.shape[3]))
        spatial, pointwise = (
            torch.randn(shape, generator=generator) / pattern.weights
            for shape in (pattern.spatial_shape, pattern.pointwise_shape)
        )
        packed = pack_weights(spatial, pointwise, pattern, algorithm)
        numbers = layer_numbers(pattern, where, work.activation)
        return lambda: _run(het_conv2d_packed, x, packed, bias, residual, numbers)

    return _times(dict(enumerate((*map(ours, patterns), pytorch))))


def _times(calls: Mapping[Name, Callable[[], object]]) -> dict[Name, list[float]]:
    """Milliseconds of each call in every round, in turns."""
    return times_in_turns(
        {name: wall(call) for name, call in calls.items()},
        ROUNDS,
        sample_ms=SAMPLE_MS,
        enough_rounds=3,
        longest_seconds=LAYER_SECONDS,
    )


def _run(call: Callable[..., Tensor], *args: Any) -> None:
    call(*args)
