"""DepGraph: pruning of coupled layers together (Fang et al., CVPR 2023), by Torch-Pruning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hetconv.compress.filters import check_share
from hetconv.compress.method import Method
from hetconv.compress.private import keep_by_share, remove
from hetconv.compress.remove import FilterGroup, Surgery
from hetconv.errors import UsageError
from hetconv.records import LayerChange


@dataclass(frozen=True)
class DepGraph(Method):
    """Remove the filters of the smallest group norm, those of residual streams and hidden linear layers included.

    The norm is Torch-Pruning's group magnitude: over every weight that makes or reads a filter, in all layers of its
    group. Of HetConv layers equally many filters stay in each part. The paper's sparse training before it is left out.

    Attributes:
        share: of each group's filters that goes.

    Raises:
        UsageError: the share is not between 0 and 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        check_share(self.share)

    def check(self, model: nn.Module, example: Tensor) -> None:
        _removable(Surgery(model, example))

    def prune(self, model: nn.Module, example: Tensor, round_number: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        surgery = Surgery(model, example)
        groups = _removable(surgery)
        scores = {group.name: surgery.score(group.name, _importance()) for group in groups}
        return remove(surgery, keep_by_share(groups, scores, {group.name: self.share for group in groups}))


def _removable(surgery: Surgery) -> list[FilterGroup]:
    found = [group for group in surgery.groups if group.reason is None]
    if not found:
        reasons = dict.fromkeys(group.reason for group in surgery.groups if group.reason is not None)
        raise UsageError(f"no filters of this network can be removed: {'; '.join(list(reasons)[:3])}")
    return found


def _importance() -> Any:
    from torch_pruning.pruner.importance import GroupMagnitudeImportance

    return GroupMagnitudeImportance(p=2)
