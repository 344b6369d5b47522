"""Tensors inside of lists, tuples and dicts: taken out in one order, and put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

CONSTANTS = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class Slot:
    """The place of the index-th tensor."""

    index: int


def take_out(value: Any, tensors: list[Tensor]) -> Any:
    """The value with a `Slot` for each tensor, which is appended to `tensors`.

    Raises:
        TypeError: something is neither a tensor, a number, text, None, nor a list, tuple or dict of these.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return Slot(len(tensors) - 1)
    if isinstance(value, dict):
        return {key: take_out(item, tensors) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(take_out(item, tensors) for item in value)
    if type(value) in CONSTANTS:
        return value
    raise TypeError(f"a {type(value).__name__}")


def put_back(structure: Any, values: Sequence[Any]) -> Any:
    """The structure with the index-th value in the place of each `Slot`."""
    if isinstance(structure, Slot):
        return values[structure.index]
    if isinstance(structure, dict):
        return {key: put_back(item, values) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(put_back(item, values) for item in structure)
    return structure


def snapshot(structure: Any) -> Any:
    """The same values in lists, tuples and dicts of its own."""
    if type(structure) is dict:
        return {key: snapshot(item) for key, item in structure.items()}
    if type(structure) in (list, tuple):
        return type(structure)(map(snapshot, structure))
    return structure


def same(one: Any, other: Any) -> bool:
    """Whether two structures hold the very same values in the same places."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return list(one) == list(other) and all(same(item, other[key]) for key, item in one.items())
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other or (type(one) in CONSTANTS and bool(one == other))


def has_numbers(structure: Any) -> bool:
    """Whether there is a number in a structure, True and False not counted."""
    if isinstance(structure, dict):
        return any(has_numbers(item) for item in structure.values())
    if isinstance(structure, list | tuple):
        return any(has_numbers(item) for item in structure)
    return isinstance(structure, int | float) and not isinstance(structure, bool)
