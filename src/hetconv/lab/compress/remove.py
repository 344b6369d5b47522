"""Really removing filters: from the layer, from its batch norm, and from every layer that reads its feature maps.

Which layers belong together is found by Torch-Pruning's dependency graph (Fang et al., CVPR 2023), on a copy of the
network with standard convolutions. What is new here is that HetConv layers stay HetConv layers: where one reads or
makes the feature maps, filters are first put in an order in which those that stay lie in their own parts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.errors import HetconvError, UsageError
from hetconv.lab.compress.dense_twin import Het, dense_twin, restore_
from hetconv.lab.compress.dependency_graph import Coupled, Graph
from hetconv.lab.compress.filters import Parts, laid_out

EQUALITY_BUDGET = 1e-9
"""How far the smaller network may be from the masked one in float64, over the largest output: sums of other order."""


@dataclass(frozen=True)
class FilterGroup:
    """Filters that can only be removed together.

    Attributes:
        name: the first of the layers that make them, in the network's order.
        producers: every layer that makes them; more than one where their outputs are added or multiplied.
        convolutions: those of the producers that are convolutions.
        filters: how many there are.
        parts: what the HetConv layers among makers and readers ask of those that stay.
        reason: why none can be removed; None if they can.
    """

    name: str
    producers: tuple[str, ...]
    convolutions: tuple[str, ...]
    filters: int
    parts: Parts
    reason: str | None = None

    @property
    def is_private(self) -> bool:
        """Whether they are one convolution's own, as they are in a chain and inside of a residual block."""
        return self.convolutions == (self.name,)


class Surgery:
    """Filters of one network, and their removal from a copy of it.

    Args:
        model: a network of convolutions, HetConv, linear and batch norm layers; left as it is.
        example: (B, C, H, W), as the network takes it.

    Raises:
        UsageError: Torch-Pruning is missing, or it cannot follow the network.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.example = example
        self.training = {name: module.training for name, module in model.named_modules()}
        self.twin, self.het = dense_twin(model)
        self.twin.eval()
        self.graph = Graph(self.twin, example)
        self.groups = tuple(self._describe(coupled) for coupled in self.graph.groups())

    def group(self, name: str) -> FilterGroup:
        """The group that a layer's filters belong to.

        Raises:
            UsageError: there is no such layer.
        """
        for group in self.groups:
            if name in group.producers:
                return group
        known = ", ".join(group.name for group in self.groups[:4])
        raise UsageError(f"layer {name!r} makes no filters in this network; there are {known}, …")

    def score(self, name: str, importance: Any) -> Tensor:
        """What one of Torch-Pruning's importances says of a group's filters: (N)."""
        return self.graph.score(name, importance)

    def remove(self, kept: Mapping[str, Sequence[int]]) -> nn.Module:
        """A smaller copy of the network.

        It is compared, in float64, with a copy in which no layer reads the removed feature maps any more.

        Args:
            kept: layer to the filters that stay; of layers not named, all stay.

        Raises:
            UsageError: a layer is unknown or cannot lose filters, or those kept do not fit its parts.
            HetconvError: the smaller network computes something else than the masked one.
        """
        for name in kept:
            if (reason := self.group(name).reason) is not None:
                raise UsageError(f"{name} cannot lose filters: {reason}")
        smaller = copy.deepcopy(self.twin)
        graph = Graph(smaller, self.example)
        masked = copy.deepcopy(self.twin)
        masked_graph = Graph(masked, self.example)
        for name, indices in kept.items():
            group = self.group(name)
            order = laid_out(indices, group.filters, group.parts)
            gone = [index for index in range(group.filters) if index not in set(order)]
            masked_graph.stop_reading(name, gone)
            if list(order) != sorted(order):
                graph.reorder(name, [*order, *gone])
                gone = list(range(len(order), group.filters))
            if gone:
                graph.remove(name, gone)
        _check_equal(smaller, masked, self.example)
        return self._as_it_was(smaller)

    def _as_it_was(self, smaller: nn.Module) -> nn.Module:
        restore_(smaller, self.het)
        for name, module in smaller.named_modules():
            module.training = self.training.get(name, smaller.training)
        return smaller

    def _describe(self, coupled: Coupled) -> FilterGroup:
        parts, reason = _parts([self.het[name] for name in coupled.touched if name in self.het])
        if reason is None and coupled.filters % parts.count:
            reason = f"{coupled.filters} filters do not fall into {parts.count} parts"
        makers = coupled.producers
        convolutions = tuple(name for name in makers if isinstance(self.twin.get_submodule(name), nn.Conv2d))
        refused = coupled.reason if reason is None else reason
        return FilterGroup(coupled.name, makers, convolutions, coupled.filters, parts, refused)


def _parts(layers: list[Het]) -> tuple[Parts, str | None]:
    """What all HetConv layers of a group together ask for."""
    wanted = [het for het in layers if het.p > 1]
    arrangements = {het.arrangement for het in wanted}
    if len(arrangements) > 1:
        return Parts(), "shifted and blocked HetConv layers share them; hetconv.relayout gives them one arrangement"
    return Parts(lcm(*(het.p for het in wanted)), arrangements.pop() if arrangements else "shifted"), None


def _check_equal(smaller: nn.Module, masked: nn.Module, example: Tensor) -> None:
    with torch.no_grad():
        found, expected = (copy.deepcopy(model).double()(example.double()) for model in (smaller, masked))
    scale = max(float(expected.abs().max()), 1e-30)
    error = float((found - expected).abs().max()) / scale
    if not error <= EQUALITY_BUDGET:
        raise HetconvError(f"the smaller network is off the masked one by {error:.2g} of its largest output")
