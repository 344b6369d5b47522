"""Comparing what a runtime computes with the model itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hetconv.errors import HetconvError, UsageError
from hetconv.foreign import foreign
from hetconv.layout.capture import copied
from hetconv.runtimes import Session

BATCHES = (1, 3)
"""Sizes that are checked beside the example's own."""
BUDGET = 1e-4
"""Allowed error over the largest output: a network's roundings in float32, with folded batch norm and Winograd
convolutions, come to some 1e-6; one wrong channel or weight changes outputs by percents."""


@dataclass(frozen=True)
class Checked:
    """How far a runtime's outputs are from the model's in float64, over the largest of them."""

    runtime: str
    batch_size: int
    error: float


def reference(model: nn.Module, x: Tensor) -> NDArray[Any]:
    """The model's output in evaluation mode and float64; the model is left as it was.

    Raises:
        UsageError: it does not take this input, or does not return one tensor.
        HetconvError: the output is not finite.
    """
    exact = copied(model).eval().double()
    with foreign(f"the model does not take an example of {tuple(x.shape)}"), torch.no_grad():
        output = exact(x.double())
    if not isinstance(output, Tensor):
        raise UsageError(f"the model returns a {type(output).__name__}; export takes networks that return one tensor")
    if not torch.isfinite(output).all():
        raise HetconvError("the model's output is not finite; there is nothing to compare an export with")
    return output.numpy()


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
    name: str, session: Session, inputs: Iterable[Tensor], references: Iterable[NDArray[Any]]
) -> tuple[Checked, ...]:
    """Compare a runtime's outputs with references.

    Raises:
        HetconvError: they differ in shape or by more than the budget, or the runtime fails.
    """
    found = []
    for x, expected in zip(inputs, references, strict=True):
        with foreign(f"{name} fails on a batch of {len(x)}", HetconvError):
            output = np.asarray(session(x.numpy()))
        if output.shape != expected.shape:
            raise HetconvError(f"{name} returns {output.shape} for a batch of {len(x)}, the model {expected.shape}")
        largest = float(np.abs(expected).max(initial=0.0))
        error_of = float(np.abs(output - expected).max(initial=0.0)) / (largest if largest > 0 else 1.0)
        if not error_of <= BUDGET:
            raise HetconvError(
                f"{name} differs from the model by {error_of:.2g} of the largest output for a batch of {len(x)}; "
                f"allowed is {BUDGET:g}"
            )
        found.append(Checked(name, len(x), error_of))
    return tuple(found)
