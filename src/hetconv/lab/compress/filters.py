"""Filters of a layer as rows of numbers, and which of them stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.nn import HetConv2d
from hetconv.pattern import Arrangement


@dataclass(frozen=True)
class Parts:
    """Into how many parts a layer's filters fall, and how they lie: of each part equally many must stay.

    A network without HetConv layers has one part. Filters that come from or go to HetConv layers have as many as the
    layers' P together ask for (their least common multiple), so that every pattern is whole after the removal.
    """

    count: int = 1
    arrangement: Arrangement = "shifted"

    def of(self, filters: int) -> list[list[int]]:
        """The filters of each part, increasing."""
        if self.arrangement == "shifted":
            return [list(range(part, filters, self.count)) for part in range(self.count)]
        size = filters // self.count
        return [list(range(part * size, (part + 1) * size)) for part in range(self.count)]


def check_share(share: float, name: str = "share") -> None:
    """Raises UsageError unless 0 < share < 1."""
    if not 0 < share < 1:
        raise UsageError(f"{name}={share:g} must be above 0 and below 1: what fraction is removed")


def filter_rows(layer: nn.Module) -> Tensor:
    """The weights of a convolution, HetConv or linear layer, one row a filter: (N, weights of a filter)."""
    if isinstance(layer, HetConv2d):
        spatial, pointwise = layer.weights()
        return torch.cat([spatial.flatten(1), pointwise], 1)
    assert isinstance(layer, nn.Conv2d | nn.Linear), type(layer).__name__
    return layer.weight.flatten(1)


def l1_norms(layer: nn.Module) -> Tensor:
    """Σ|w| of each filter: (N)."""
    return filter_rows(layer).abs().sum(1)


def kept_in_part(filters: int, parts: Parts, share: float) -> int:
    """How many filters of each part stay when a share of them goes; never none. A fraction of a filter goes too."""
    return max(1, int(filters // parts.count * (1 - share) + 1e-6))


def keep_largest(scores: Tensor, parts: Parts, each: int) -> tuple[int, ...]:
    """The `each` filters of the largest score in every part, increasing; of equal scores the earlier filter stays."""
    values = scores.detach().tolist()
    kept: list[int] = []
    for members in parts.of(len(values)):
        ranked = sorted(members, key=lambda index: (-values[index], index))
        kept.extend(ranked[:each])
    return tuple(sorted(kept))


def laid_out(kept: Iterable[int], filters: int, parts: Parts) -> tuple[int, ...]:
    """Kept filters in an order in which each lies in its own part again.

    Raises:
        UsageError: the parts do not keep equally many.
    """
    chosen = set(kept)
    if not chosen <= set(range(filters)):
        raise UsageError(f"filters {sorted(chosen - set(range(filters)))} must be from 0 to {filters - 1}")
    by_part = [[index for index in members if index in chosen] for members in parts.of(filters)]
    sizes = {len(members) for members in by_part}
    if len(sizes) != 1 or sizes == {0}:
        counts = ", ".join(str(len(members)) for members in by_part)
        raise UsageError(f"of {parts.count} parts {counts} filters would stay; equally many of each must, at least one")
    if parts.arrangement == "blocked":
        return tuple(index for members in by_part for index in members)
    return tuple(index for period in zip(*by_part, strict=True) for index in period)
