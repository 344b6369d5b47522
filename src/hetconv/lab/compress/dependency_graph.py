"""Torch-Pruning's dependency graph of a network of standard layers, asked by layer name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.foreign import foreign

MADE_OF = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
"""What filters can be removed from: everything else that has parameters of its own is refused."""


@dataclass(frozen=True)
class Coupled:
    """Layers whose filters go together.

    `touched` are all layers that make or read the feature maps; `reason` says why no filter can be removed.
    """

    name: str
    producers: tuple[str, ...]
    filters: int
    touched: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True)
class Reading:
    """Where the filters of a group lie in the weight of one layer that makes or reads them: in this dimension, filter
    `roots[i]` at `places[i]`."""

    layer: str
    dimension: int
    places: tuple[int, ...]
    roots: tuple[int, ...]


class Graph:
    """The dependency graph of one network, which is changed in place.

    Raises:
        UsageError: Torch-Pruning is not installed, or it cannot follow the network.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        if importlib.util.find_spec("torch_pruning") is None:
            raise UsageError("removing filters needs torch-pruning: pip install torch-pruning")
        import torch_pruning

        self.model = model
        self.names = {module: name for name, module in model.named_modules()}
        with foreign("Torch-Pruning cannot follow this network"), torch.enable_grad():
            model(example)
            self._graph = torch_pruning.DependencyGraph().build_dependency(model, (example,), verbose=False)

    def groups(self) -> Iterator[Coupled]:
        """Every group of filters, in the order of the network's layers."""
        seen: set[str] = set()
        order = {name: place for place, name in enumerate(self.names.values())}
        for name, layer in self.model.named_modules():
            if name in seen or not _makes_filters(layer) or layer not in self._graph.module2node:
                continue
            items = self._items(name)
            makers = {self.names[item.dep.layer] for item in items if self._makes(item)}
            seen |= makers
            producers = tuple(sorted(makers, key=order.__getitem__))
            touched = tuple(self.names[item.dep.layer] for item in items if item.dep.layer in self.names)
            yield Coupled(producers[0], producers, len(_rows(layer)), touched, self._why_not(items))

    def score(self, name: str, importance: Any) -> Tensor:
        found: Tensor = importance(self._group(name, range(self._filters(name))))
        return found.detach()

    def remove(self, name: str, gone: Sequence[int]) -> None:
        """Remove filters, and whatever reads them."""
        self._group(name, gone).prune()

    def stop_reading(self, name: str, gone: Sequence[int]) -> None:
        """Set to zero every weight that reads these filters' feature maps."""
        for item in self._items(name, gone):
            layer = item.dep.layer
            if isinstance(layer, nn.Conv2d | nn.Linear) and not self._is_output(item):
                layer.weight.data[:, item.idxs] = 0

    def readings(self, name: str) -> tuple[Reading, ...]:
        """Every weight that makes or reads the filters of a group, those of batch norm included."""
        found = []
        for item in self._items(name):
            layer = item.dep.layer
            if not isinstance(layer, MADE_OF) or layer.weight is None:
                continue
            is_row = self._is_output(item) or isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
            found.append(Reading(self.names[layer], 0 if is_row else 1, tuple(item.idxs), tuple(item.root_idxs)))
        return tuple(found)

    def reorder(self, name: str, order: Sequence[int]) -> None:
        """Put filters, and whatever reads them, in another order, which changes nothing of what is computed."""
        for item in self._items(name):
            layer = item.dep.layer
            if not isinstance(layer, MADE_OF):
                continue
            dimension = 0 if self._is_output(item) or isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else 1
            for key in ("weight", "bias", "running_mean", "running_var"):
                tensor = getattr(layer, key, None)
                if tensor is not None and tensor.dim() > dimension:
                    source = _source(tensor.shape[dimension], item.idxs, item.root_idxs, order)
                    tensor.data = tensor.data.index_select(dimension, source.to(tensor.device))

    def _group(self, name: str, indices: Sequence[int]) -> Any:
        layer = self.model.get_submodule(name)
        pruner = self._graph.get_pruner_of_module(layer)
        return self._graph.get_pruning_group(layer, pruner.prune_out_channels, list(indices))

    def _items(self, name: str, indices: Sequence[int] | None = None) -> list[Any]:
        return list(self._group(name, range(self._filters(name)) if indices is None else indices).items)

    def _filters(self, name: str) -> int:
        return len(_rows(self.model.get_submodule(name)))

    def _is_output(self, item: Any) -> bool:
        return bool(self._graph.is_out_channel_pruning_fn(item.dep.handler))

    def _makes(self, item: Any) -> bool:
        return self._is_output(item) and _makes_filters(item.dep.layer)

    def _why_not(self, items: list[Any]) -> str | None:
        for item in items:
            layer, is_output = item.dep.layer, self._is_output(item)
            if isinstance(layer, nn.Conv2d) and layer.groups > 1 and not _is_depthwise(layer):
                return f"{self.names[layer]} is a grouped convolution"
            if isinstance(layer, nn.Parameter):
                return "a parameter outside of any layer is added to them"
            if isinstance(layer, nn.Module) and not isinstance(layer, MADE_OF) and _has_parameters(layer):
                return f"{self.names[layer]} is a {type(layer).__name__}"
            padding = getattr(item.dep.target.grad_fn, "_saved_pad", ())
            if is_output and any(padding[4:]):
                return "they are padded with empty channels on the way"
        readers = [item for item in items if isinstance(item.dep.layer, nn.Conv2d | nn.Linear)]
        if all(self._is_output(item) for item in readers) or any("Output" in type(i.dep.layer).__name__ for i in items):
            return "they are the network's output"
        return None


def _makes_filters(layer: object) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and not _is_depthwise(layer))


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1


def _has_parameters(layer: nn.Module) -> bool:
    return next(layer.parameters(), None) is not None


def _rows(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return layer.weight


def _source(size: int, places: Sequence[int], roots: Sequence[int], order: Sequence[int]) -> Tensor:
    """Where each entry of a dimension comes from: the places of filter `order[i]` move to those of filter i.

    A filter has several places where its feature map is flattened.
    """
    of_root: dict[int, list[int]] = {}
    for place, root in zip(places, roots, strict=True):
        of_root.setdefault(root, []).append(place)
    source = list(range(size))
    for target, origin in enumerate(order):
        for to, come_from in zip(of_root.get(target, []), of_root.get(origin, []), strict=True):
            source[to] = come_from
    return torch.tensor(source)
