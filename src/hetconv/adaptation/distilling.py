"""A converted network trained to give what the original gives, without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hetconv.adaptation.image_batches import ImageBatches
from hetconv.adaptation.network_state import unchanged_on_error
from hetconv.adaptation.passes import inference, run
from hetconv.adaptation.statistics import Answers, tensors_in
from hetconv.errors import HetconvError, UsageError
from hetconv.wrappers import unwrap

WARM_UP = 0.05
"""The share of the steps in which the rate rises."""


@dataclass(frozen=True)
class DistillationReport:
    """What the training brought.

    Attributes:
        error_before, error_after: root mean square difference of the network's outputs from the original's, over that
            of the original's, on images that were held out.
        is_kept: whether that became less; if not, the network is as it was before.
    """

    steps: int
    error_before: float
    error_after: float
    is_kept: bool

    def __str__(self) -> str:
        end = "" if self.is_kept else "; the network is as it was before"
        return f"output error {self.error_before:.4f} → {self.error_after:.4f} after {self.steps} steps{end}"


def keep_silent(_step: int, _loss: float) -> None:
    """Where nobody waits for the steps."""


def distill_(
    converted: nn.Module,
    original: nn.Module,
    images: Tensor | Sequence[Tensor],
    *,
    steps: int,
    learning_rate: float = 1e-4,
    dtype: torch.dtype = torch.float32,
    told: Callable[[int, float], None] = keep_silent,
) -> DistillationReport:
    """Train a converted network until its outputs come nearer to the original's, for the same images.

    The loss is the mean square difference of all the tensors that the networks give, relative to the original's own
    mean square: class scores, maps, or several of them. It needs no labels. Adam; the rate rises and then falls to zero
    as a cosine; batch norm statistics stay as they are. Make it follow `refit_`, which costs less and comes far.

    Args:
        converted: what `convert_` made of a copy of the original; changed in place.
        original: the trained network; left as it is.
        images: as for `refit_`; an eighth is held out. Each batch of them is one step.
        dtype: of the computation; torch.bfloat16 by autocast, where the machine is faster at it.
        told: called with the number and the loss of each step.

    Raises:
        UsageError: steps or learning_rate are not above 0, or dtype is neither of the two; the networks share weights,
            or nothing of `converted` can be trained; the images do not fit; the networks' outputs are not alike, or
            none of them is a floating-point tensor.
        HetconvError: the loss is NaN or infinite. `converted` is then as it was before.
    """
    _check_asked(steps, learning_rate, dtype)
    converted, original = unwrap(converted), unwrap(original)
    reason = why_not_distilled(converted, original)
    if reason is not None:
        raise UsageError(reason)
    batches = ImageBatches.of(images)
    with unchanged_on_error(converted) as before, inference(converted, original):
        right = Answers.of(original, batches.held_out)
        error_before = right.error_of(converted)
        rates = [learning_rate * _share((step + 0.5) / steps) for step in range(steps)]
        try:
            with torch.enable_grad():
                _train(converted, original, _repeated(batches.fitted), rates, dtype, told)
        finally:
            converted.zero_grad()
        error_after = right.error_of(converted)
        is_kept = error_after < error_before
        if not is_kept:
            converted.load_state_dict(before)
    return DistillationReport(steps, error_before, error_after, is_kept)


def _check_asked(steps: int, learning_rate: float, dtype: torch.dtype) -> None:
    """Raises UsageError."""
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps={steps!r} must be a whole number above 0")
    if not isinstance(learning_rate, int | float) or not 0 < learning_rate < math.inf:
        raise UsageError(f"learning_rate={learning_rate!r} must be a number above 0")
    if dtype not in (torch.float32, torch.bfloat16):
        raise UsageError(f"dtype={dtype} must be torch.float32 or torch.bfloat16")


def why_not_distilled(converted: nn.Module, original: nn.Module) -> str | None:
    """Why a network cannot be trained after another one; None if it can."""
    trained = {p for p in converted.parameters() if p.requires_grad}
    if not trained:
        return "no parameter of converted requires a gradient; unfreeze those to train: parameter.requires_grad_()"
    if trained & set(original.parameters()):
        return "converted and original share weights; convert a copy (copy.deepcopy) of the original"
    return None


def _train(
    converted: nn.Module,
    original: nn.Module,
    batches: Iterator[Tensor],
    rates: Sequence[float],
    dtype: torch.dtype,
    told: Callable[[int, float], None],
) -> None:
    optimizer = torch.optim.Adam([p for p in converted.parameters() if p.requires_grad])
    optimizer.zero_grad()
    for step, (rate, images) in enumerate(zip(rates, batches, strict=False), start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            with torch.no_grad():
                wanted = list(tensors_in(run(original, images)))
            found = list(tensors_in(run(converted, images)))
        loss = difference(found, wanted)
        if not loss.requires_grad:
            raise UsageError(
                f"the outputs of {type(converted).__name__} do not depend on any parameter that can be trained; "
                "unfreeze those that should be: parameter.requires_grad_(), and leave torch.no_grad out of its forward"
            )
        if not loss.isfinite():
            raise HetconvError(f"the loss is {loss.item()} at step {step}; ask for a lower learning_rate")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        told(step, loss.item())


def difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The squares of all differences, relative to the squares of what is wanted."""
    pairs = [(x.float(), y.float()) for x, y in zip(found, wanted, strict=True)]
    power = sum(float(y.square().sum()) for _, y in pairs)
    return torch.stack([(x - y).square().sum() for x, y in pairs]).sum() / (power or 1.0)


def _share(done: float) -> float:
    """Of the learning rate, when this share of the steps (half of the present one included) is done."""
    return min(done / WARM_UP, 1.0) * (1 + math.cos(math.pi * done)) / 2


def _repeated(batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """The batches again and again, each time in another order."""
    generator = torch.Generator().manual_seed(0)
    while True:
        for index in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[index]
