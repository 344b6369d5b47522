"""Batch norm folded into the convolution or linear layer before it: when that can be, and what the weights become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hetconv.graph.calls import Held, Operation, has_hooks, module_of, operation
from hetconv.graph.operations import WEIGHTS
from hetconv.graph.values import is_number

_TENSORS = ("running_mean", "running_var", "weight", "bias")
_MAX_POOLS = {"max_pool1d": 3, "max_pool2d": 4, "max_pool3d": 5}
"""How many dimensions their input has; of one fewer, the first two would be channels and pixels."""


class FoldableGraph(ABC):
    """A graph whose batch norms can be folded.

    Attributes:
        graph: in evaluation mode.
        modules: those that it calls, by name.
    """

    graph: Graph
    modules: Mapping[str, nn.Module]

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """A parameter or buffer."""

    @abstractmethod
    def rank(self, node: Node) -> int | None:
        """How many dimensions a node's value has, if that is known."""

    @abstractmethod
    def put(self, node: Node, tensors: dict[str, Tensor]) -> None:
        """Give a layer these weights and this bias, by argument."""

    @abstractmethod
    def drop(self, norm: Node) -> None:
        """Have what reads a batch norm read its input."""

    def why_not_change(self, layer: Node, norm: Node) -> str | None:
        """Why neither may be changed; None if they may."""
        return None


@dataclass(frozen=True)
class Outcome:
    """What became of a batch norm.

    Attributes:
        name: the module whose statistics or weights it has.
        layer: the call of the convolution or linear layer before it; None if there is no such.
        reason: why it was not folded; None if it was.
    """

    name: str
    layer: Node | None
    reason: str | None


def fold_batch_norms(network: FoldableGraph) -> tuple[Outcome, ...]:
    """Fold each batch norm that follows a convolution or linear layer, or the max pool after it, into its weights.

    Outputs differ by rounding only.
    """
    reads = _reads(network)
    norms = [node for node in network.graph.nodes if _is_norm(operation(node, network.modules))]
    return tuple(_fold(network, node, reads) for node in norms)


def _is_norm(found: Operation | None) -> bool:
    return found is not None and found.name == "batch_norm"


def _fold(network: FoldableGraph, node: Node, reads: Mapping[str, int]) -> Outcome:
    norm = operation(node, network.modules)
    assert norm is not None
    own = [norm[name].name for name in _TENSORS if isinstance(norm[name], Held)]
    name = own[0].rpartition(".")[0] if own else module_of(node)
    source = before = norm["input"]
    pool = _operation(network, source)
    pooled = pool is not None and _is_max_pool(network, pool)
    if pool is not None and pooled:
        before = pool["input"]
    layer = _operation(network, before)
    if layer is None or layer.name not in WEIGHTS:
        return Outcome(name, None, f"no convolution or linear layer comes directly before it, but {before.name}")
    reason = why_not_statistics(norm) or _why_not(network, before, layer, reads)
    reason = reason or _why_hooked(network, (before, source, node))
    if reason is None and (_is_read_elsewhere(source) or _is_read_elsewhere(before)):
        reason = "the layer's output is also used elsewhere"
    if reason is None and pooled and not _has_positive_scale(network, norm):
        reason = "a max pool is between, and a scale is not positive"
    reason = reason or network.why_not_change(before, node)
    if reason is None:
        network.put(before, _folded(layer, Statistics.of(norm, network.tensor), network.tensor))
        network.drop(node)
    return Outcome(name, before, reason)


def _operation(network: FoldableGraph, value: Node | Held) -> Operation | None:
    """What computes a value; None also of a tensor that the network holds."""
    return operation(value, network.modules) if isinstance(value, Node) else None


def _is_max_pool(network: FoldableGraph, found: Operation) -> bool:
    """Whether it is a max pool of each channel alone, and gives back nothing else."""
    rank = network.rank(found["input"]) if isinstance(found["input"], Node) else None
    return rank is not None and rank == _MAX_POOLS.get(found.name) and not found["return_indices"]


def _why_hooked(network: FoldableGraph, nodes: tuple[Node, ...]) -> str | None:
    hooked = [str(node.target) for node in nodes if has_hooks(node, network.modules)]
    return f"{hooked[0]} has a forward hook, which would meet other values" if hooked else None


def _has_positive_scale(network: FoldableGraph, norm: Operation) -> bool:
    """Whether the largest of several numbers is the largest after the batch norm too."""
    return norm["weight"] is None or bool((network.tensor(norm["weight"].name) > 0).all())


def why_not_statistics(norm: Operation) -> str | None:
    """Why a batch norm is no function of each channel that is known before it runs; None if it is."""
    if norm["training"] is not False or norm["running_mean"] is None or norm["running_var"] is None:
        return "it uses the statistics of the batch"
    if not all(norm[name] is None or isinstance(norm[name], Held) for name in _TENSORS):
        return "its statistics or weights are computed while it runs"
    return None


def _why_not(network: FoldableGraph, node: Node, layer: Operation, reads: Mapping[str, int]) -> str | None:
    tensors = [layer[name] for name in (*WEIGHTS[layer.name], "bias") if layer[name] is not None]
    if not all(isinstance(tensor, Held) for tensor in tensors):
        return "the layer's weights are computed while it runs"
    weights = [layer[name].name for name in WEIGHTS[layer.name] if layer[name] is not None]
    count = max(reads.get(name, 0) for name in (layer.held if node.op == "call_module" else weights))
    if count > 1:
        return f"the layer's weights are used in {count} places"
    if network.rank(node) != network.tensor(weights[0]).dim():
        return "it normalizes another dimension than the layer's output channels"
    return None


def _reads(network: FoldableGraph) -> dict[str, int]:
    """In how many places each tensor is read, under all of its names together; by each name."""
    names = list(_names_read(network))
    counts = Counter(id(network.tensor(name)) for name in names)
    return {name: counts[id(network.tensor(name))] for name in names}


def _names_read(network: FoldableGraph) -> Iterator[str]:
    for node in network.graph.nodes:
        if node.op == "get_attr":
            yield from [str(node.target)] * len(node.users)
        elif node.op == "call_module":
            made = operation(node, network.modules)
            yield from () if made is None else made.held


def _is_read_elsewhere(node: Node) -> bool:
    return sum(not is_number(user) for user in node.users) > 1


@dataclass(frozen=True)
class Statistics:
    """What a batch norm does in evaluation mode, in float64: (x − mean) / √(variance + eps) · weight + bias."""

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    @classmethod
    def of(cls, norm: Operation, tensor: Callable[[str], Tensor]) -> Statistics:
        values = (None if norm[name] is None else tensor(norm[name].name).detach().double() for name in _TENSORS)
        mean, variance, weight, bias = values
        assert mean is not None
        assert variance is not None
        return cls(mean, variance, weight, bias, norm["eps"])

    def into(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight (filters first) and bias of the layer that computes the same, in float64."""
        old = None if bias is None else bias.double()
        norm = (self.mean, self.variance, self.eps, self.weight, self.bias)
        scaled, shift = fuse_conv_bn_weights(weight.double(), old, *norm)
        return scaled.detach(), shift.detach()

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel, in float64."""
        scale, shift = self.into(torch.ones_like(self.mean)[:, None], None)
        return scale[:, 0], shift


def _folded(layer: Operation, norm: Statistics, tensor: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """New weights and bias by argument: computed in float64, rounded once."""
    bias = None if layer["bias"] is None else tensor(layer["bias"].name).detach()
    groups: Any = layer["groups"] if "transpose" in layer.name else None
    found = {}
    for name in WEIGHTS[layer.name]:
        if layer[name] is None:  # the pointwise ones of a HetConv layer with P=1
            continue
        weight = tensor(layer[name].name).detach()
        scaled, shift = norm.into(_turned(weight, groups), bias)
        found[name] = _turned(scaled, groups).to(weight.dtype)
        found["bias"] = shift.to(weight.dtype)
    return found


def _turned(weight: Tensor, groups: int | None) -> Tensor:
    """Weights of a transposed convolution, (channels, filters / groups, …), filters first, and back again."""
    return weight if groups is None else weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
