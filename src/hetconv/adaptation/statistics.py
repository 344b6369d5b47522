"""Batch norm statistics of a changed network, and how far its outputs are from the original's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hetconv.adaptation.image_batches import ImageBatches
from hetconv.adaptation.passes import run
from hetconv.errors import HetconvError, UsageError

Statistics = Literal["kept", "re-estimated", "none"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network gives for images, for others to be held against it."""

    batches: Sequence[Tensor]
    outputs: Sequence[Sequence[Tensor]]

    @classmethod
    def of(cls, original: nn.Module, batches: Sequence[Tensor]) -> Answers:
        """Raises HetconvError for an output that is NaN or infinite, and UsageError where there is none to compare."""
        outputs = [_outputs("original", original, images) for images in batches]
        if not any(outputs):
            raise UsageError(
                f"{type(original).__name__} gives no floating-point tensor to compare; wrap it in a module that "
                "returns such tensors, alone or in lists, tuples or dicts"
            )
        return cls(batches, outputs)

    def error_of(self, model: nn.Module) -> float:
        """Root mean square difference of a network's outputs over that of these.

        Raises:
            UsageError: the two networks' outputs are not alike.
            HetconvError: an output is NaN or infinite.
        """
        difference, power = 0.0, 0.0
        for images, wanted in zip(self.batches, self.outputs, strict=True):
            found = _outputs("converted network", model, images)
            if [x.shape for x in found] != [x.shape for x in wanted]:
                raise UsageError(
                    "the networks give outputs of different shapes; original must be the one that was converted"
                )
            for x, y in zip(found, wanted, strict=True):
                difference += float((x.double() - y.double()).square().sum())
                power += float(y.double().square().sum())
        return sqrt(difference / power) if power else sqrt(difference)


def _outputs(name: str, network: nn.Module, images: Tensor) -> list[Tensor]:
    found = list(tensors_in(run(network, images)))
    if not all(bool(x.isfinite().all()) for x in found):
        raise HetconvError(f"the {name} gives NaN or infinity on these images")
    return found


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors inside of lists, tuples and dicts."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def choose_statistics_(model: nn.Module, right: Answers, batches: ImageBatches) -> Statistics:
    """Re-estimate batch norm statistics; keep them if held-out outputs come nearer to the original's."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return "none"
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    before = right.error_of(model)
    re_estimate_(model, norms, batches.fitted)
    try:
        after = right.error_of(model)
    except HetconvError:
        after = float("inf")
    if after < before:
        return "re-estimated"
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in norm.named_buffers():
            buffer.copy_(buffers[name])
    return "kept"


def re_estimate_(model: nn.Module, norms: Sequence[_BatchNorm], batches: Sequence[Tensor]) -> None:
    """Set running statistics to the mean over batches, everything else in evaluation mode."""
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    try:
        with torch.no_grad():
            for images in batches:
                run(model, images)
    finally:
        for norm, momentum in zip(norms, momentums, strict=True):
            norm.momentum, norm.training = momentum, False
