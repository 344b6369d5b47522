"""Lookahead (Zhang et al., NeurIPS 2019): weights are moved back towards where they were some steps ago."""

from __future__ import annotations

import torch
from torch import nn


class Lookahead:
    """Remembers a network's floating-point tensors, batch norm's statistics among them, as they are now."""

    def __init__(self, network: nn.Module) -> None:
        state = network.state_dict()
        self.now = [tensor for tensor in state.values() if tensor.is_floating_point()]
        self.before = [tensor.clone() for tensor in self.now]

    @torch.no_grad()
    def move_back(self, share: float) -> None:
        """Move each tensor by `share` of the way back to where it was, and remember where it comes to."""
        for now, before in zip(self.now, self.before, strict=True):
            before.lerp_(now, 1 - share)
            now.copy_(before)
