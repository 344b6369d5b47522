"""A network's copy with standard convolutions in the place of HetConv layers, and the way back.

What reasons about standard layers only (Torch-Pruning) works on the copy.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from hetconv.errors import HetconvError
from hetconv.nn import HetConv2d
from hetconv.pattern import Arrangement


@dataclass(frozen=True)
class Het:
    """What a standard convolution of the copy was."""

    p: int
    arrangement: Arrangement


def dense_twin(model: nn.Module) -> tuple[nn.Module, dict[str, Het]]:
    """A copy that computes the same with zero-filled standard convolutions, and which of them were HetConv layers."""
    twin = copy.deepcopy(model)
    layers = {name: layer for name, layer in twin.named_modules() if isinstance(layer, HetConv2d)}
    for name, layer in layers.items():
        put(twin, name, layer.to_dense())
    return twin, {name: Het(layer.p, layer.arrangement) for name, layer in layers.items()}


def restore_(twin: nn.Module, layers: dict[str, Het]) -> nn.Module:
    """Make the named convolutions HetConv layers again, in place.

    Raises:
        HetconvError: one of them has weights where its pattern has none: filters were removed against it.
    """
    for name, het in layers.items():
        conv = twin.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        layer = HetConv2d.from_dense(conv, het.p, het.arrangement)
        if not torch.equal(layer.to_dense().weight, conv.weight):
            raise HetconvError(f"{name}: the filters that are left do not form a HetConv layer of P={het.p}")
        put(twin, name, layer)
    return twin


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of the one of this name."""
    parent, _, key = name.rpartition(".")
    setattr(model.get_submodule(parent), key, layer)
