"""How much a network loses by each P of each layer: from least squares on images, without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.adaptation.image_batches import ImageBatches
from hetconv.adaptation.normal_equations import NormalEquations, kernels_of, weights_of
from hetconv.adaptation.passes import calls_in_order, given_to, inference, pass_until_called
from hetconv.adaptation.patches import sample_patches
from hetconv.adaptation.refitted_layers import LinearLayer, linear_layer
from hetconv.adaptation.statistics import Answers
from hetconv.errors import HetconvError
from hetconv.ops.weights import from_dense_weight, to_dense_weight
from hetconv.pattern import HetPattern

PIXELS, PIXELS_PER_UNKNOWN = 2**12, 3
ROWS = 1024
"""So many pixels at a time are multiplied, which takes memory."""
RIDGES = (1e-4, 1e-2)
REFERENCE, SHOWS = 4, 1e-8
"""The P at which the network's own outputs are looked at; the least residual that shows in them."""
SAMPLES_BYTES = 2**30
"""Of the samples that are held at a time; a pass over the images gives those of as many layers as fit."""


def layer_losses(
    model: nn.Module,
    parts: Mapping[str, Sequence[int]],
    images: ImageBatches,
    told: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[int, float]]:
    """The mean square error of the network's outputs that each P of each layer brings, layers taken one at a time.

    For every P, least squares gives the share r(P) of the layer's output that is lost. What that does to the network is
    measured once a layer, with the weights of one P in place, and taken as proportional to r. Float32 is enough: its
    rounding is far below the smallest ridge.

    Args:
        parts: the P that are asked for, by layer. Layers that the images do not reach are not in the answer.
        told: called with each layer's name when it is done.
    """
    modules = dict(model.named_modules())
    names = {modules[name]: name for name in parts}
    found = {}
    with inference(model):
        right = Answers.of(model, images.held_out)
        calls = calls_in_order(model, names, images.held_out[0])
        layers = {name: _Sampled(linear_layer(name, modules[name]), called.count) for name, called in calls.items()}
        for group in _groups(layers):
            fitted = _samples(model, group, images.fitted, 1)
            held_out = _samples(model, group, images.held_out, 4)
            for name, sampled in group.items():
                fits = _fits(name, sampled.layer, parts[name], fitted.pop(name), held_out.pop(name))
                looked_at = fits[_reference({p: fit.residual for p, fit in fits.items()})]
                shown = looked_at.residual and right.error_of(_changed(model, sampled.layer, looked_at)) ** 2
                weight = shown / looked_at.residual if looked_at.residual else 1.0
                found[name] = {p: weight * fit.residual for p, fit in fits.items()}
                told(name)
    return found


def _reference(residuals: Mapping[int, float]) -> int:
    """The P to look at: REFERENCE, a smaller one, or, where those lose nothing that shows in float32, the largest."""
    tried = [p for p in residuals if p <= REFERENCE and residuals[p] > SHOWS]
    return max(tried, default=max(residuals))


Sample = tuple[Tensor, Tensor]
"""Patches (n, K², M) and outputs (n, N) of a layer at some pixels."""


@dataclass(frozen=True, eq=False)
class _Sampled:
    """A layer to be sampled, and how often a pass calls it."""

    layer: LinearLayer
    calls: int

    @property
    def pixels(self) -> int:
        """So many to fit on."""
        unknowns = self.layer.pattern.weights // self.layer.pattern.out_channels
        return max(PIXELS, PIXELS_PER_UNKNOWN * unknowns // 2)  # P=2 has about half of the unknowns

    @property
    def bytes(self) -> int:
        pattern = self.layer.pattern
        return 4 * self.pixels * (pattern.taps * pattern.in_channels + pattern.out_channels)


def _groups(layers: Mapping[str, _Sampled]) -> Iterator[dict[str, _Sampled]]:
    """The layers in their order, as many at a time as SAMPLES_BYTES holds."""
    group: dict[str, _Sampled] = {}
    for name, sampled in layers.items():
        if group and sum(one.bytes for one in (*group.values(), sampled)) > SAMPLES_BYTES:
            yield group
            group = {}
        group[name] = sampled
    if group:
        yield group


def _samples(
    model: nn.Module, group: Mapping[str, _Sampled], batches: Sequence[Tensor], divisor: int
) -> dict[str, Sample]:
    """Samples of each layer, all of them from one pass over the images; `divisor` times fewer pixels than to fit on."""
    images = sum(map(len, batches))
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[Sample]] = {name: [] for name in group}

    def take(name: str, layer: LinearLayer, per_image: int, x: Tensor, y: Tensor) -> None:
        found[name].append(sample_patches(layer, layer.images(x), layer.images(y), per_image, generator))

    takers = {
        one.layer.module: (partial(take, name, one.layer, ceil(one.pixels / divisor / images / one.calls)), one.calls)
        for name, one in group.items()
    }
    for batch in batches:
        pass_until_called(model, takers, batch)
    return {name: (torch.cat([x for x, _ in taken]), torch.cat([y for _, y in taken])) for name, taken in found.items()}


@dataclass(frozen=True, eq=False)
class _Fit:
    """The best kernels of one P, as a dense layer's weight and bias, and the share of the output that they lose."""

    residual: float
    weight: Tensor
    bias: Tensor


def _fits(name: str, layer: LinearLayer, parts: Sequence[int], fitted: Sample, held_out: Sample) -> dict[int, _Fit]:
    """By P."""
    if not all(bool(tensor.isfinite().all()) for tensor in (*fitted, *held_out)):
        raise HetconvError(f"{name} gets or gives values that are not finite on these images")
    found = {}
    for p in parts:
        pattern = HetPattern(layer.pattern.in_channels, layer.pattern.out_channels, layer.pattern.kernel_hw, p)
        start = kernels_of(pattern, *from_dense_weight(layer.weights[0], pattern), layer.bias).float()
        equations = NormalEquations(pattern, start.device, torch.float32)
        for patches, targets in zip(*(tensor.split(ROWS) for tensor in fitted), strict=True):
            equations.add(patches, targets)
        system = equations.system()
        solved = [one for ridge in RIDGES for one in system.solve([start, torch.zeros_like(start)], ridge)]
        found[p] = min((_judged(pattern, one, *held_out) for one in (start, *solved)), key=lambda fit: fit.residual)
    return found


def _judged(pattern: HetPattern, kernels: Tensor, patches: Tensor, targets: Tensor) -> _Fit:
    spatial, pointwise, constant = (tensor.to(patches.dtype) for tensor in weights_of(pattern, kernels))
    weight = to_dense_weight(spatial, pointwise, pattern)
    by_tap = weight.permute(2, 3, 1, 0).reshape(-1, pattern.out_channels)
    errors = torch.addmm(constant, patches.flatten(1), by_tap) - targets
    variance = (targets - targets.mean(0)).double().square().sum()
    share = errors.double().square().sum() / variance.clamp(min=torch.finfo(torch.float64).tiny)
    return _Fit(float(share), weight, constant)


def _changed(model: nn.Module, layer: LinearLayer, fit: _Fit) -> nn.Module:
    """The network with these kernels in the layer's place."""

    def instead(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], __: Tensor) -> Tensor:
        x = layer.padded(given_to(args, kwargs))
        return functional.conv2d(x, fit.weight, fit.bias, layer.where.stride, 0, layer.where.dilation)

    class Changed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            handle = layer.module.register_forward_hook(instead, with_kwargs=True)
            try:
                return model(x)  # type: ignore[no-any-return]
            finally:
                handle.remove()

    return Changed()
