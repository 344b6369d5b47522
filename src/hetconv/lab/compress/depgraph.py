"""DepGraph: pruning of coupled layers together (Fang et al., CVPR 2023), by Torch-Pruning."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.compress.filters import check_share
from hetconv.lab.compress.group_sparsity import GroupSparsity, check_sparsity, group_magnitude
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.private import keep_by_share, remove
from hetconv.lab.compress.remove import FilterGroup, Surgery
from hetconv.lab.results import LayerChange
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Objective


@dataclass(frozen=True)
class DepGraph(Method):
    """Remove the filters of the smallest group norm, those of residual streams and hidden linear layers included.

    The norm is Torch-Pruning's group magnitude: over every weight that makes or reads a filter, in all layers of its
    group. Of HetConv layers equally many filters stay in each part.

    Attributes:
        share: of each group's filters that goes.
        sparse: whether the paper's sparse training comes before it: `GroupSparsity`, as long as the first training, at
            a tenth of its learning rate.
        strength, alpha: of the sparse training; the defaults are those of Torch-Pruning's GroupNormPruner.

    Raises:
        UsageError: the share is not between 0 and 1, the strength not above 0 or alpha not above 1.
    """

    share: float = 0.5
    sparse: bool = False
    strength: float = 1e-4
    alpha: float = 16.0

    def __post_init__(self) -> None:
        check_share(self.share)
        check_sparsity(self.strength, self.alpha)

    def check(self, model: nn.Module, example: Tensor) -> None:
        _removable(Surgery(model, example))

    def preparation(self, recipe: Recipe) -> Recipe | None:
        return replace(recipe, learning_rate=0.1 * recipe.learning_rate, warmup_epochs=0.0) if self.sparse else None

    def objective(self, model: nn.Module, example: Tensor, images: int) -> Objective:
        if not self.sparse:
            return Objective()
        surgery = Surgery(model, example)
        return GroupSparsity(surgery, [group.name for group in _removable(surgery)], self.strength, self.alpha)

    def prune(self, model: nn.Module, example: Tensor, round_number: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        surgery = Surgery(model, example)
        groups = _removable(surgery)
        scores = {group.name: surgery.score(group.name, group_magnitude()) for group in groups}
        return remove(surgery, keep_by_share(groups, scores, {group.name: self.share for group in groups}))


def _removable(surgery: Surgery) -> list[FilterGroup]:
    found = [group for group in surgery.groups if group.reason is None]
    if not found:
        reasons = dict.fromkeys(group.reason for group in surgery.groups if group.reason is not None)
        raise UsageError(f"no filters of this network can be removed: {'; '.join(list(reasons)[:3])}")
    return found
