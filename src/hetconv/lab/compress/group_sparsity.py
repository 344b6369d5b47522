"""The sparse training of DepGraph (Fang et al., CVPR 2023, section 3.3): what matters least is drawn to zero."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.compress.dependency_graph import Reading
from hetconv.lab.compress.remove import Surgery
from hetconv.lab.train import Objective
from hetconv.nn import HetConv2d
from hetconv.ops.weights import to_dense_weight


class GroupSparsity(Objective):
    """½·strength·Σ γ‖w‖² over all weights that make or read a filter, in every layer of its group.

    γ is between 1, for the filter of its group that matters most, and `alpha`, for the one that matters least:
    alpha^((max I − I)/(max I − min I)) with I the root of Torch-Pruning's group magnitude, a number of the step
    without a gradient. The penalty's gradient is what Torch-Pruning's GroupNormPruner adds to a step's; HetConv layers
    take part by the standard convolutions that compute the same.

    Args:
        surgery: of the network that is trained, whose copy it keeps up to date.
        names: the groups that take part.
    """

    def __init__(self, surgery: Surgery, names: list[str], strength: float, alpha: float) -> None:
        self.surgery, self.strength, self.alpha = surgery, strength, alpha
        self.readings = {name: surgery.graph.readings(name) for name in names}

    def penalty(self, model: nn.Module) -> Tensor:
        weights = {name: dense_weight(model.get_submodule(name)) for name in self._layers()}
        factors = self.factors(weights)
        terms = [
            _weighed(weights[reading.layer], reading, factors[name])
            for name, readings in self.readings.items()
            for reading in readings
            if name in factors
        ]
        return 0.5 * self.strength * torch.stack(terms).sum() if terms else next(iter(weights.values())).sum() * 0

    @torch.no_grad()
    def factors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """γ of each group's filters, for these weights; of none whose filters all matter alike."""
        for name, weight in weights.items():
            copied = self.surgery.twin.get_submodule(name).weight
            assert isinstance(copied, Tensor)
            copied.copy_(weight)
        found = {}
        for name in self.readings:
            importance = self.surgery.score(name, group_magnitude()).sqrt()
            spread = importance.max() - importance.min()
            if bool(torch.isfinite(spread)) and float(spread) > 0:
                found[name] = self.alpha ** ((importance.max() - importance) / spread)
        return found

    def _layers(self) -> dict[str, None]:
        return dict.fromkeys(reading.layer for readings in self.readings.values() for reading in readings)


def dense_weight(layer: nn.Module) -> Tensor:
    """A layer's weight, of a HetConv layer that of the standard convolution that computes the same; differentiable."""
    if isinstance(layer, HetConv2d):
        return to_dense_weight(*layer.weights(), layer.pattern)
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def group_magnitude() -> object:
    """Torch-Pruning's importance of a filter: the squares of every weight that makes or reads it, in all layers."""
    from torch_pruning.pruner.importance import GroupMagnitudeImportance

    importance: object = GroupMagnitudeImportance(p=2)
    return importance


def check_sparsity(strength: float, alpha: float) -> None:
    """Raises UsageError unless the penalty draws anything, and those that matter least more than the others."""
    if not strength > 0:
        raise UsageError(f"strength={strength:g} must be above 0")
    if not alpha > 1:
        raise UsageError(f"alpha={alpha:g} must be above 1: how much more the filter that matters least is drawn")


def _weighed(weight: Tensor, reading: Reading, factors: Tensor) -> Tensor:
    """Σ γ‖w‖² of one layer over the dimension in which the filters lie."""
    places, roots = (torch.tensor(numbers, device=weight.device) for numbers in (reading.places, reading.roots))
    others = [dimension for dimension in range(weight.dim()) if dimension != reading.dimension]
    squares = weight.square().sum(others) if others else weight.square()
    return (factors.to(weight.device)[roots] * squares[places]).sum()
