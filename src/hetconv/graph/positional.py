"""Calls with their operands by position, however the network's code writes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

_FIRST = ("input", "tensors")
_NOT_FIRST = frozenset(("where", "searchsorted"))
"""PyTorch's functions that take another operand before `input`, or one between `input` and `other`."""


def by_position(kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments by position of a call, whose first operands are taken out of `kwargs`.

    `torch.add(input=x, other=y)` becomes `torch.add(x, y)`.
    """
    if kind not in ("call_function", "call_method") or getattr(target, "__name__", target) in _NOT_FIRST:
        return args
    if kind == "call_function" and not args:
        first = next((name for name in (*_first_of(target), *_FIRST) if name in kwargs), None)
        args = () if first is None else (kwargs.pop(first),)
    if len(args) == 1 and "other" in kwargs:
        args = (*args, kwargs.pop("other"))
    return args


@cache
def _first_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The name of a function's first argument, where Python knows it."""
    try:
        return tuple(inspect.signature(function).parameters)[:1]
    except (TypeError, ValueError):
        return ()
