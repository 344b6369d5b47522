"""How far two networks' score maps say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

TEXT, LOW_TEXT, LINK = 0.7, 0.4, 0.4
"""The usual thresholds of CRAFT: a word has a character's score above the first; its box is of all above the others."""


@dataclass(frozen=True)
class Agreement:
    """Over all pixels of all images; the first channel of a map is of characters, the second of links between them.

    `text_iou` is at the score that a word must reach, `region_iou` and `link_iou` at those that its box is made of.
    """

    text_iou: float
    region_iou: float
    link_iou: float
    region_pearson: float
    link_pearson: float


def iou(found: Tensor, wanted: Tensor, threshold: float) -> float:
    """Pixels above the threshold in both maps, as a share of those above it in either; 1 if there are none."""
    mine, its = found > threshold, wanted > threshold
    either = int((mine | its).sum())
    return int((mine & its).sum()) / either if either else 1.0


def pearson(found: Tensor, wanted: Tensor) -> float:
    """The coefficient of correlation; 0 where one of the maps is the same everywhere."""
    x, y = (one.double().flatten() - one.double().mean() for one in (found, wanted))
    power = float(x.norm() * y.norm())
    power = float(x @ x) * float(y @ y)
    return float(x @ y) / sqrt(power) if power else 0.0


def agreement(found: Tensor, wanted: Tensor) -> Agreement:
    """Of maps (B, 2, H, W)."""
    (region, link), (its_region, its_link) = found.unbind(1), wanted.unbind(1)
    return Agreement(
        iou(region, its_region, TEXT), iou(region, its_region, LOW_TEXT), iou(link, its_link, LINK),
        pearson(region, its_region), pearson(link, its_link),
    )  # fmt: skip


def score_maps(network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """The network's maps of all images."""

    def each() -> Iterator[Tensor]:
        for images in batches:
            yield network(images)

    with torch.inference_mode():
        return torch.cat(list(each()))
