"""Who looks on while a call runs: transforms that know PyTorch's own operators only, `torch.jit.trace`, exporters."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch.autograd import forward_ad

P = ParamSpec("P")
R = TypeVar("R")


def knows_only_torch() -> bool:
    """Whether what looks on takes PyTorch's own operators only: torch.func, forward mode."""
    return torch._C._are_functorch_transforms_active() or (not torch.compiler.is_compiling() and in_forward_mode())


def in_forward_mode() -> bool:
    """Whether tensors may carry tangents (`torch.autograd.forward_ad`)."""
    return forward_ad._current_level >= 0


def is_traced() -> bool:
    """Whether `torch.jit.trace` records this call."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """The function with sizes as plain integers: `torch.jit.trace` makes them tensors, and records what they do."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling() or not is_traced():
            return function(*args, **kwargs)
        state = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        try:
            return function(*args, **kwargs)
        finally:
            torch._C._set_tracing_state(state)  # type: ignore[attr-defined]

    return run


def is_traced_for_onnx() -> bool:
    """Whether the ONNX exporter that traces records this call: it wants to know the shape of every kernel."""
    if torch.compiler.is_compiling() or not is_traced():
        return False
    from torch.onnx import is_in_onnx_export

    return bool(is_in_onnx_export())
