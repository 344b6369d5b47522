"""A network in 8 bits as plain records and tensors, and back: weights as the layers have them, packed when loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hetconv.deployment.int8.module import Int8Network
from hetconv.ops.network_steps import Step
from hetconv.records import Record

_PREFIX = "int8"


@dataclass(frozen=True)
class SavedStep(Record):
    """A step; its natural arrays are tensors of the file. Reals are texts: JSON has no infinity."""

    kind: str
    inputs: tuple[int, ...]
    numbers: tuple[int, ...]
    reals: tuple[str, ...]
    arrays: int


@dataclass(frozen=True)
class SavedInt8(Record):
    """A network in 8 bits but for its tensors."""

    in_channels: int
    flat: bool
    size: tuple[int, int] | None
    steps: tuple[SavedStep, ...]


def save_int8(network: Int8Network) -> tuple[SavedInt8, dict[str, Tensor]]:
    """The records, and the tensors by their names in the file.

    Raises:
        UsageError: weights were packed for an instruction set that is no longer chosen.
    """
    tensors: dict[str, Tensor] = {}
    steps = []
    for number, step in enumerate(network.steps):
        arrays = step.natural_arrays
        tensors |= {_name(number, at): array for at, array in enumerate(arrays)}
        reals = tuple(real.hex() for real in step.reals)
        steps.append(SavedStep(step.kind, step.inputs, step.numbers, reals, len(arrays)))
    return SavedInt8(network.in_channels, network.flat, network.size, tuple(steps)), tensors


def load_int8(saved: SavedInt8, take: Callable[[str], Tensor]) -> Int8Network:
    """The network, its weights packed for this machine, one layer after the other.

    Args:
        take: gives the tensor of a name.

    Raises:
        KeyError: a tensor is missing.
        UsageError: a step is none that can be computed.
    """
    return Int8Network(
        saved.in_channels,
        [_step(number, step, take) for number, step in enumerate(saved.steps)],
        saved.flat,
        saved.size,
    )


def _step(number: int, step: SavedStep, take: Callable[[str], Tensor]) -> Step:
    arrays = tuple(take(_name(number, at)) for at in range(step.arrays))
    reals = tuple(float.fromhex(real) for real in step.reals)
    return Step.of_natural(step.kind, step.inputs, step.numbers, reals, arrays)


def _name(step: int, array: int) -> str:
    return f"{_PREFIX}/{step}.{array}"
