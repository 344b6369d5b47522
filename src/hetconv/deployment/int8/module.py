"""A network in 8 bits as a module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.ops.native_network import Network
from hetconv.ops.network_steps import Step


class Int8Network(nn.Module):
    """A whole network as one native call.

    Attributes:
        in_channels: of the images.
        steps: what the call does.
        flat: whether the output is (B, N) and not (B, N, H, W).
        size: the only (height, width) of images that it takes, or None.
    """

    def __init__(
        self, in_channels: int, steps: Sequence[Step], flat: bool, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.in_channels, self.steps, self.flat, self.size = in_channels, tuple(steps), flat, size
        self.native = Network(in_channels, self.steps)
        super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            raise UsageError("a deployed module has no gradients; call it under torch.no_grad(), or train the original")
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            raise UsageError(
                f"images are {tuple(x.shape)}; this network was deployed for {self.size[0]}×{self.size[1]}"
            )
        y = self.native(x)
        return y.flatten(1) if self.flat else y

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: natural weights, which are packed there."""
        steps = [(step.kind, step.inputs, step.numbers, step.reals, step.natural_arrays) for step in self.steps]
        return _restored, (self.in_channels, steps, self.flat, self.size)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        steps = [replace(step, arrays=tuple(array.clone() for array in step.arrays)) for step in self.steps]
        return type(self)(self.in_channels, steps, self.flat, self.size)

    def extra_repr(self) -> str:
        return f"{len(self.steps)} steps"


def _restored(
    in_channels: int, steps: Sequence[tuple[Any, ...]], flat: bool, size: tuple[int, int] | None
) -> Int8Network:
    return Int8Network(in_channels, [Step.of_natural(*step) for step in steps], flat, size)
