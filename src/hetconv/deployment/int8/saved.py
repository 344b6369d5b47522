"""A network in 8 bits as plain records and tensors, and back: weights as the layers have them, packed when loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hetconv.deployment.int8.module import Int8Network
from hetconv.ops.network import Int8Weights, Step
from hetconv.pattern import Arrangement, HetPattern
from hetconv.records import Record

_PREFIX = "int8"


@dataclass(frozen=True)
class SavedWeights(Record):
    """`HetPattern`'s arguments; spatial, pointwise and scale are tensors of the file."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int]
    p: int
    arrangement: Arrangement


@dataclass(frozen=True)
class SavedStep(Record):
    """A step; its arrays are tensors of the file. Reals are texts: JSON has no infinity."""

    kind: str
    inputs: tuple[int, ...]
    numbers: tuple[int, ...]
    reals: tuple[str, ...]
    arrays: int
    weights: SavedWeights | None


@dataclass(frozen=True)
class SavedInt8(Record):
    """A network in 8 bits but for its tensors."""

    in_channels: int
    flat: bool
    size: tuple[int, int] | None
    steps: tuple[SavedStep, ...]


def save_int8(network: Int8Network) -> tuple[SavedInt8, dict[str, Tensor]]:
    """The records, and the tensors by their names in the file."""
    tensors: dict[str, Tensor] = {}
    steps = []
    for number, step in enumerate(network.steps):
        for at, array in enumerate(step.arrays):
            tensors[f"{_PREFIX}/{number}.{at}"] = array
        weights = step.weights
        if weights is not None:
            for name in ("spatial", "pointwise", "scale"):
                tensors[f"{_PREFIX}/{number}.{name}"] = getattr(weights, name)
        reals = tuple(real.hex() for real in step.reals)
        saved = None if weights is None else _saved(weights.pattern)
        steps.append(SavedStep(step.kind, step.inputs, step.numbers, reals, len(step.arrays), saved))
    return SavedInt8(network.in_channels, network.flat, network.size, tuple(steps)), tensors


def load_int8(saved: SavedInt8, tensors: Mapping[str, Tensor]) -> Int8Network:
    """The network, its weights packed for this machine.

    Raises:
        KeyError: a tensor is missing.
        UsageError: a step is none that can be computed.
    """
    steps = []
    for number, step in enumerate(saved.steps):
        arrays = tuple(tensors[f"{_PREFIX}/{number}.{at}"] for at in range(step.arrays))
        weights = None
        if step.weights is not None:
            named = (tensors[f"{_PREFIX}/{number}.{name}"] for name in ("spatial", "pointwise", "scale"))
            weights = Int8Weights(_pattern(step.weights), *named)
        reals = tuple(float.fromhex(real) for real in step.reals)
        steps.append(Step(step.kind, step.inputs, step.numbers, reals, arrays, weights))
    return Int8Network(saved.in_channels, steps, saved.flat, saved.size)


def _saved(pattern: HetPattern) -> SavedWeights:
    return SavedWeights(pattern.in_channels, pattern.out_channels, pattern.kernel_hw, pattern.p, pattern.arrangement)


def _pattern(saved: SavedWeights) -> HetPattern:
    return HetPattern(saved.in_channels, saved.out_channels, saved.kernel_size, saved.p, saved.arrangement)
