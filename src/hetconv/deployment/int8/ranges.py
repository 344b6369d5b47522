"""What a network's values are on the calibration images, and the u8 scale that suits each best."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.errors import UsageError
from hetconv.graph.captured import Captured, evaluate
from hetconv.ops.network_steps import Affine

BINS = 2048
CLIPS = 64
"""How many fractions of the whole range are tried for the one of least squared error."""
PERCENTILE = 0.9999
LARGEST = 1e30
"""A range above this is no range: its scale would leave float32."""
LEVELS = 255


@dataclass(frozen=True)
class Observed:
    """One value over all calibration images: its range, how often it is where in it, and each channel's mean."""

    low: float
    high: float
    histogram: Tensor
    mean: Tensor

    @property
    def is_constant(self) -> bool:
        return self.high <= self.low


Method = Callable[[Observed], tuple[float, float]]


def whole_range(observed: Observed) -> tuple[float, float]:
    return observed.low, observed.high


def percentiles(observed: Observed) -> tuple[float, float]:
    """The range without its outermost 0.01 % on each side."""
    share = observed.histogram.cumsum(0) / observed.histogram.sum()
    step = (observed.high - observed.low) / BINS
    first = int((share > 1 - PERCENTILE).int().argmax())
    last = int((share >= PERCENTILE).int().argmax()) + 1
    return observed.low + first * step, observed.low + last * step


def least_squares(observed: Observed) -> tuple[float, float]:
    """The fraction of the range whose rounding and clipping have the least squared error."""
    step = (observed.high - observed.low) / BINS
    centres = observed.low + step * (torch.arange(BINS, dtype=torch.float64) + 0.5)

    def error(fraction: float) -> float:
        of = affine_of(fraction * observed.low, fraction * observed.high)
        rounded = ((centres / of.scale).round() + of.zero).clamp(0, LEVELS) - of.zero
        return float((observed.histogram * (rounded * of.scale - centres) ** 2).sum())

    fractions = [(at + 1) / CLIPS for at in range(CLIPS // 8, CLIPS)]
    best = min(reversed(fractions), key=error)
    return best * observed.low, best * observed.high


METHODS: dict[str, Method] = {"least squared error": least_squares, "whole range": whole_range, "99.99 %": percentiles}


def affine_of(low: float, high: float) -> Affine:
    """The scale and zero by which u8 covers a range, 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS or 1.0
    return Affine(scale, max(0, min(LEVELS, round(-low / scale))))


def observe(captured: Captured, nodes: Collection[Node], batches: Sequence[Tensor]) -> dict[Node, Observed]:
    """Run the graph on all batches, twice: for the ranges, and for where in them the values are.

    Raises:
        UsageError: a value is NaN or infinite, or larger than 8 bits can scale.
    """
    lows: dict[Node, float] = dict.fromkeys(nodes, math.inf)
    highs: dict[Node, float] = dict.fromkeys(nodes, -math.inf)
    histograms: dict[Node, Tensor] = {}
    means: dict[Node, Tensor] = {}

    def see_range(node: Node, value: Any) -> Any:
        if node in lows:
            low, high = (float(bound) for bound in value.aminmax())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise UsageError(f"{node.name} is NaN or infinite on the calibration images; 8 bits need its range")
            lows[node], highs[node] = min(lows[node], low), max(highs[node], high)
        return value

    def see_values(node: Node, value: Any) -> Any:
        if node in lows:
            low, high = lows[node], highs[node]
            counts = torch.histc(value.float(), BINS, low, high) if high > low else torch.zeros(BINS)
            mean = value.double().transpose(0, 1).flatten(1).mean(1) / len(batches)
            histograms[node] = histograms[node] + counts.double() if node in histograms else counts.double()
            means[node] = means[node] + mean if node in means else mean
        return value

    with torch.no_grad():
        for batch in batches:
            evaluate(captured, [batch], see_range)
        for node in nodes:
            if max(abs(lows[node]), abs(highs[node])) > LARGEST:
                raise UsageError(
                    f"{node.name} is up to {highs[node]:.2g} on the calibration images, too large to scale"
                )
        for batch in batches:
            evaluate(captured, [batch], see_values)
    return {node: Observed(lows[node], highs[node], histograms[node], means[node]) for node in nodes}
