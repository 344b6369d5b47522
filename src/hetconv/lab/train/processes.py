"""The processes that a launcher started to train together, on accelerators or, where there is none, on CPUs."""

from __future__ import annotations

import torch
from accelerate import Accelerator, PartialState


def joined_processes() -> PartialState:
    """This process's place among them; waits until all are there."""
    return PartialState(cpu=_on_cpu())


def accelerator_of(mixed_precision: str) -> Accelerator:
    """What places a network on this process's device, and joins it with the other processes'."""
    return Accelerator(cpu=_on_cpu(), mixed_precision=mixed_precision)


def _on_cpu() -> bool:
    """Accelerate joins processes on CPUs only where it is told that they are."""
    return not torch.accelerator.is_available()
