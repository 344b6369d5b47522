"""Changing one layer of a copy of a network, and making sure that the layer was changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import torch
from torch import Tensor, nn

from hetconv.convert import convert_, convertible
from hetconv.errors import HetconvError, UsageError
from hetconv.lab.compress.filters import keep_largest, kept_in_part, l1_norms
from hetconv.lab.compress.private import why_left
from hetconv.lab.compress.remove import Surgery
from hetconv.nn import HetConv2d
from hetconv.pattern import valid_parts


@dataclass(frozen=True)
class Changed:
    """A network of which one layer is changed: `changed` of `of` weights or filters are not what they were.

    Raises:
        HetconvError: nothing is.
    """

    model: nn.Module
    what: str
    changed: int
    of: int
    unit: str

    def __post_init__(self) -> None:
        if self.changed == 0:
            raise HetconvError(
                f"{self.what} changed none of its {self.of} {self.unit}: an accuracy would say nothing of the layer"
            )


class Prober(Protocol):
    """One kind of change, of the named layer by a value."""

    def why_not(self, name: str, value: float) -> str | None:
        """Why the layer cannot be changed so; None if it can."""

    def change(self, name: str, value: float) -> Changed:
        """A copy of the network with that layer changed.

        Raises:
            HetconvError: it is what it was.
        """


class HetProbes:
    """One convolution at a time becomes a HetConv layer, which keeps what its pattern keeps of the trained weights."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def why_not(self, name: str, value: float) -> str | None:
        p = int(value)
        report = convertible(self.model, p, include=name)
        for entry in report.converted:
            if entry.name == name and entry.p == p:
                return None
            if entry.name == name:
                return _does_not_divide(self.model.get_submodule(name), p)
        return next((entry.reason for entry in report.skipped if entry.name == name), "it is not a convolution")

    def change(self, name: str, value: float) -> Changed:
        changed = copy.deepcopy(self.model)
        convert_(changed, int(value), include=name)
        before, layer = self.model.get_submodule(name).weight, changed.get_submodule(name)
        assert isinstance(before, Tensor)
        assert isinstance(layer, HetConv2d)
        different = int((layer.to_dense().weight != before).sum())
        return Changed(changed, f"P={value:g} in the place of {name}", different, before.numel(), "weights")


class ShareProbes:
    """One convolution at a time loses the share of its filters that has the smallest Σ|w|: they are removed."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.model = model
        self.surgery = Surgery(model, example)

    def why_not(self, name: str, value: float) -> str | None:
        group = next((group for group in self.surgery.groups if name in group.producers), None)
        if group is None:
            return "it makes no filters"
        if group.reason is not None or not group.is_private:
            return why_left(group)
        if kept_in_part(group.filters, group.parts, value) * group.parts.count == group.filters:
            return f"each of {group.parts.count} parts keeps one of the {group.filters} filters, which is all of them"
        return None

    def change(self, name: str, value: float) -> Changed:
        group = self.surgery.group(name)
        each = kept_in_part(group.filters, group.parts, value)
        kept = keep_largest(l1_norms(self.model.get_submodule(name)), group.parts, each)
        smaller = self.surgery.remove({name: kept})
        left = smaller.get_submodule(name).out_channels
        assert isinstance(left, int)
        return Changed(
            smaller, f"removing {value:g} of the filters of {name}", group.filters - left, group.filters, "filters"
        )


def convolutions(model: nn.Module) -> tuple[str, ...]:
    """The K×K convolutions and HetConv layers of a network, in its order."""
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | HetConv2d)
        and max(module.kernel_size) > 1
        and getattr(module, "groups", 1) == 1
    )


def check_layers(model: nn.Module, layers: tuple[str, ...]) -> None:
    """Raises UsageError unless each name is that of a convolution of the network, and given once."""
    known = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | HetConv2d)]
    for name in layers:
        if name not in known:
            near = ", ".join(get_close_matches(name, known, n=3, cutoff=0))
            raise UsageError(f"layers: {name!r} is no convolution of this network; nearest: {near}")
    if len(set(layers)) != len(layers):
        raise UsageError(f"layers={','.join(layers)!r} must name each only once")


def fingerprint(model: nn.Module) -> tuple[dict[str, bytes], dict[str, bool]]:
    """Every bit of a network's weights and statistics, and which of its modules train."""
    state = {
        name: value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    return state, {name: module.training for name, module in model.named_modules()}


def _does_not_divide(conv: nn.Module, p: int) -> str:
    channels, filters = conv.in_channels, conv.out_channels
    assert isinstance(channels, int)
    assert isinstance(filters, int)
    valid = ", ".join(map(str, valid_parts(channels, filters)[1:]))
    return f"p={p} does not divide in_channels={channels} and out_channels={filters}; it can be {valid or '1 only'}"
