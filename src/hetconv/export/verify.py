"""Comparing what a runtime computes with the model itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hetconv.errors import HetconvError, UsageError
from hetconv.foreign import foreign
from hetconv.graph import equality
from hetconv.graph.equality import Reference
from hetconv.runtimes import Session
from hetconv.wrappers import copied

BATCHES = (1, 3)
"""Sizes that are checked beside the example's own."""


@dataclass(frozen=True)
class Checked:
    """How far a runtime's outputs are from the model's in float64, and how far they may be; as `Reference` has it.

    Attributes:
        original_error: the model's own in float32.
    """

    runtime: str
    batch_size: int
    error: float
    original_error: float
    allowed: float


def reference(model: nn.Module, x: Tensor) -> Reference:
    """What the model computes in evaluation mode; the model is left as it was.

    Raises:
        UsageError: it does not take this input, or does not return one tensor.
        HetconvError: the output is not finite.
    """
    try:
        with foreign(f"the model does not take an example of {tuple(x.shape)}"):
            found = equality.reference(copied(model).eval(), (x,))
    except HetconvError as error:
        raise HetconvError("the model's output is not finite; there is nothing to compare an export with") from error
    if not isinstance(found.given, Tensor):
        kind = type(found.given).__name__
        raise UsageError(f"the model returns a {kind}; export takes networks that return one tensor")
    return found


def inputs(example: Tensor) -> tuple[Tensor, ...]:
    """The example, and random images of the same spread in other batch sizes."""
    generator = torch.Generator().manual_seed(0)
    mean, spread = float(example.mean()), float(example.std()) if example.numel() > 1 else 1.0
    others = (
        torch.randn(batch, *example.shape[1:], generator=generator) * spread + mean
        for batch in BATCHES
        if batch != len(example)
    )
    return example, *others


def compare(
    name: str, session: Session, inputs: Iterable[Tensor], references: Iterable[Reference]
) -> tuple[Checked, ...]:
    """Compare a runtime's outputs with references.

    Raises:
        HetconvError: they differ in shape or by more than the budget, or the runtime fails.
    """
    found = []
    for x, right in zip(inputs, references, strict=True):
        with foreign(f"{name} fails on a batch of {len(x)}", HetconvError):
            output = np.asarray(session(x.numpy()))
        off, allowed = right.error(torch.tensor(output)), max(right.budget, equality.FOREIGN_KERNELS)
        if off is None:
            expected = tuple(right.exact[0].shape)
            raise HetconvError(f"{name} returns {output.shape} for a batch of {len(x)}, the model {expected}")
        if not off <= allowed:
            raise HetconvError(
                f"{name} differs from {right.against} by {off:.2g} for a batch of {len(x)}, PyTorch itself by "
                f"{right.own_error:.2g}; allowed is {allowed:.2g}"
            )
        found.append(Checked(name, len(x), off, right.own_error, allowed))
    return tuple(found)
