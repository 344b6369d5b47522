"""Auto-balanced filter pruning (Ding et al., AAAI 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.compress.filters import Parts, check_share, filter_rows, kept_in_part, l1_norms
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.private import keep_by_share, private_groups, remove, shares_by_name
from hetconv.lab.compress.remove import FilterGroup, Surgery
from hetconv.lab.results import LayerChange
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Objective

SMALLEST = 1e-30
"""Norms below count as this much, so that their logarithm is finite."""


@dataclass(frozen=True)
class AutoBalanced(Method):
    """Train with a penalty that takes from the filters to prune just what it gives to those to keep; prune; fine-tune.

    Attributes:
        share: of each layer's filters that goes.
        by_name: layer or pattern to another share, 0 to leave it whole.
        times: in how many rounds of its own training, pruning and fine-tuning; each leaves the same fraction of the
            filters that were left, and a fraction of a filter goes too. λ is that of the round's first weights.
        alpha: weight of the penalty on filters to prune. The paper's value is not at hand; a public re-implementation
            has 5e-4.

    The penalty's own training is as long as the first one, at a tenth of its learning rate.

    Raises:
        UsageError: a share is not between 0 and 1, alpha is not positive, or there is no round.
    """

    share: float = 0.5
    by_name: Mapping[str, float] = field(default_factory=dict)
    alpha: float = 5e-4
    times: int = 1

    def __post_init__(self) -> None:
        check_share(self.share)
        if not self.alpha > 0:
            raise UsageError(f"alpha={self.alpha} must be above 0")
        if self.times < 1:
            raise UsageError(f"times={self.times} must be at least 1")

    @property
    def rounds(self) -> int:
        return self.times

    def check(self, model: nn.Module, example: Tensor) -> None:
        self._shares(private_groups(Surgery(model, example)))

    def preparation(self, recipe: Recipe) -> Recipe | None:
        return replace(recipe, learning_rate=0.1 * recipe.learning_rate, warmup_epochs=0.0)

    def objective(self, model: nn.Module, example: Tensor, images: int) -> Objective:
        groups = private_groups(Surgery(model, example))
        shares = self._shares(groups)
        with torch.no_grad():
            return Balance(
                {
                    group.name: balance_weights(
                        l1_norms(model.get_submodule(group.name)), group.parts,
                        kept_in_part(group.filters, group.parts, shares[group.name]),
                    )
                    for group in groups
                },
                self.alpha,
            )  # fmt: skip

    def prune(self, model: nn.Module, example: Tensor, round_number: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        surgery = Surgery(model, example)
        groups = private_groups(surgery)
        scores = {group.name: l1_norms(model.get_submodule(group.name)) for group in groups}
        return remove(surgery, keep_by_share(groups, scores, self._shares(groups)))

    def _shares(self, groups: Sequence[FilterGroup]) -> dict[str, float]:
        """What goes of each group in one round."""
        shares = shares_by_name(groups, self.share, self.by_name)
        return {name: 1 - (1 - share) ** (1 / self.times) for name, share in shares.items()}


class Balance(Objective):
    """The penalty α·S_P + τ·S_R with τ = −α·S_P/S_R, which is 0 in value and not in its gradient.

    Args:
        weights: layer to λ of its filters, above 0 for those to prune (P) and below for those to keep (R).
    """

    def __init__(self, weights: Mapping[str, Tensor], alpha: float) -> None:
        self.weights, self.alpha = weights, alpha

    def penalty(self, model: nn.Module) -> Tensor:
        to_prune, to_keep = self.terms(model)
        return to_prune + to_keep

    def terms(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """α·S_P and τ·S_R of this step; τ is a number of the step and has no gradient."""
        sums = [_weighted(filter_rows(model.get_submodule(name)), lambdas) for name, lambdas in self.weights.items()]
        prune = torch.stack([positive for positive, _ in sums]).sum()
        keep = torch.stack([negative for _, negative in sums]).sum()
        tau = -self.alpha * prune.detach() / keep.detach() if bool(keep) else torch.zeros_like(keep)
        return self.alpha * prune, tau * keep


def balance_weights(norms: Tensor, parts: Parts, each: int) -> Tensor:
    """λ of each filter: 1 + ln(θ/M) where M < θ, else −1 − ln(M/θ), θ the norm of the last filter to be kept.

    Where filters fall into parts of which equally many are kept, each part has a θ of its own.

    Args:
        norms: M, the L1 norms of a layer's filters: (N).
        each: how many filters of each part are kept.
    """
    found = torch.empty_like(norms)
    floored = norms.clamp_min(SMALLEST)
    for members in parts.of(len(norms)):
        found[members] = _of_part(floored[members], each)
    return found


def _of_part(norms: Tensor, each: int) -> Tensor:
    theta = norms.sort(descending=True).values[each - 1]
    return torch.where(norms < theta, 1 + torch.log(theta / norms), -1 - torch.log(norms / theta))


def _weighted(rows: Tensor, lambdas: Tensor) -> Sequence[Tensor]:
    """Σ λ‖W‖² over the filters to prune, and over those to keep."""
    products = lambdas * rows.square().sum(1)
    return products[lambdas > 0].sum(), products[lambdas < 0].sum()
