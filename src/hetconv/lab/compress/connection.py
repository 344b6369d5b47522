"""Connection pruning (Han et al., *Learning both Weights and Connections*, NIPS 2015)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.compress.dense_twin import put
from hetconv.lab.compress.filters import check_share
from hetconv.lab.compress.method import Method
from hetconv.lab.results import LayerChange
from hetconv.lab.train import Data, Objective
from hetconv.nn import HetConv2d, SparseConv2d, SparseLinear


@dataclass(frozen=True)
class Connection(Method):
    """Remove the smallest single weights, retrain those that are left, again and again; then store and run them sparse.

    A weight is small against its layer: one threshold, times the standard deviation of the layer's weights, for all
    layers, as in the paper (section 3). Of HetConv layers those weights can go that there are.

    Attributes:
        share: of all weights of convolution, HetConv and linear layers that goes in the end; the first convolution
            and the last layer take part.
        times: in how many rounds; each leaves the same fraction of what was left.

    Raises:
        UsageError: the share is not between 0 and 1, or there is no round.
    """

    share: float = 0.9
    times: int = 1

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.times < 1:
            raise UsageError(f"times={self.times} must be at least 1")

    @property
    def rounds(self) -> int:
        return self.times

    def check(self, model: nn.Module, example: Tensor) -> None:
        for name, layer in _layers(model).items():
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                raise UsageError(f"{name} is a grouped convolution, which is not run sparse; use another method")

    def prune(self, model: nn.Module, example: Tensor, round_number: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        pruned = copy.deepcopy(model)
        share = 1 - (1 - self.share) ** ((round_number + 1) / self.times)
        layers = _layers(pruned)
        relative = {name: [_relative(weight, layer) for weight in _weights(layer)] for name, layer in layers.items()}
        every = torch.cat([values.flatten() for tensors in relative.values() for values in tensors])
        threshold = every.kthvalue(max(1, round(share * every.numel()))).values
        changes = []
        for name, layer in layers.items():
            for weight, values in zip(_weights(layer), relative[name], strict=True):
                weight.data.mul_(values > threshold)
            stored = sum(weight.numel() for weight in _weights(layer))
            left = sum(int(weight.count_nonzero()) for weight in _weights(layer))
            changes.append(LayerChange(name, "weights", stored, left))
        return pruned, tuple(changes)

    def retraining_objective(self, model: nn.Module) -> Objective:
        return StaysZero(model)

    def finish(self, model: nn.Module, data: Data) -> nn.Module:
        return sparse(model)


class StaysZero(Objective):
    """After each step, weights that are zero now are so again."""

    def __init__(self, model: nn.Module) -> None:
        self.masks = {
            name: [weight.detach() != 0 for weight in _weights(layer)] for name, layer in _layers(model).items()
        }

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        for name, masks in self.masks.items():
            for weight, mask in zip(_weights(model.get_submodule(name)), masks, strict=True):
                weight.mul_(mask)


def sparse(model: nn.Module) -> nn.Module:
    """A copy for inference whose convolution, HetConv and linear layers store and multiply nonzero weights only.

    Raises:
        UsageError: a convolution is grouped.
    """
    found = copy.deepcopy(model)
    for name, layer in _layers(found).items():
        put(found, name, SparseLinear(layer) if isinstance(layer, nn.Linear) else SparseConv2d(layer))
    return found.eval()


def _layers(model: nn.Module) -> dict[str, nn.Conv2d | HetConv2d | nn.Linear]:
    return {
        name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | HetConv2d | nn.Linear)
    }


def _weights(layer: nn.Module) -> list[nn.Parameter]:
    if isinstance(layer, HetConv2d):
        return [weight for weight in (layer.weight_spatial, layer.weight_pointwise) if weight is not None]
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    return [weight]


def _relative(weight: Tensor, layer: nn.Module) -> Tensor:
    """Magnitudes over the standard deviation of all weights of the layer."""
    every = torch.cat([part.detach().flatten() for part in _weights(layer)])
    return weight.detach().abs() / every.std().clamp_min(1e-30)
