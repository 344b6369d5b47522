"""A network in 8 bits as a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.ops.network import Network, Step


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

    def __getstate__(self) -> dict[str, Any]:
        """The native network is made again from its steps where a copy or another process wants it."""
        return {key: value for key, value in self.__dict__.items() if key != "native"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.native = Network(self.in_channels, self.steps)

    def extra_repr(self) -> str:
        return f"{len(self.steps)} steps"
