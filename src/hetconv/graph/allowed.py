"""The operations that a deployed graph may consist of, by name: nothing else is captured, saved or loaded."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.nn import functional

from hetconv.graph.operations import OPERATIONS
from hetconv.ops import het_conv2d, native

PACKED = "hetconv.het_conv2d_packed"


def _called_as(letter: str) -> list[str]:
    return sorted(name for name, facts in OPERATIONS.items() if letter in facts.called_as)


METHODS = frozenset(_called_as("M"))
ATTRIBUTES = frozenset(("shape", "ndim", "dtype", "device", "T", "mT"))
"""What `getattr` may ask a tensor for."""


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """The allowed functions by their full names; the packed operator is added where the native kernels are."""
    modules = (("torch.nn.functional", functional, "F"), ("torch", torch, "T"), ("operator", operator, "O"))
    special: dict[str, Callable[..., Any]] = {"hetconv.het_conv2d": het_conv2d, "builtins.getattr": builtins.getattr}
    if native.why_not_loaded() is None:
        special[PACKED] = torch.ops.hetconv.het_conv2d_packed.default
    return special | {
        f"{prefix}.{name}": getattr(module, name) for prefix, module, letter in modules for name in _called_as(letter)
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
