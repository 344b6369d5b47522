"""The processes that a launcher started to train together, on accelerators or, where there is none, on CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, PartialState
from torch import nn


def joined_processes() -> PartialState:
    """This process's place among them; waits until all are there."""
    return PartialState(cpu=_on_cpu())


def accelerator_of(mixed_precision: str) -> Accelerator:
    """What places a network on this process's device, and joins it with the other processes'."""
    return Accelerator(cpu=_on_cpu(), mixed_precision=mixed_precision)


@contextmanager
def own_forward(model: nn.Module) -> Iterator[None]:
    """Within, a network may be wrapped for mixed precision; after it, it computes in its own precision again."""
    own = model.__dict__.get("forward")
    try:
        yield
    finally:
        for name in ("forward", "_original_forward"):
            model.__dict__.pop(name, None)
        if own is not None:
            model.forward = own


def _on_cpu() -> bool:
    """Accelerate joins processes on CPUs only where it is told that they are."""
    return not torch.accelerator.is_available()
