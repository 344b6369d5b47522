"""Least squares for a converted network, layer after layer, without labels and without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from hetconv.adaptation.image_batches import ImageBatches
from hetconv.adaptation.network_state import unchanged_on_error
from hetconv.adaptation.normal_equations import NormalEquations, System, kernels_of, weights_of
from hetconv.adaptation.passes import Calls, calls_in_order, inference, inputs_of, outputs_of
from hetconv.adaptation.patches import sample_patches
from hetconv.adaptation.refit_report import RefitLayer, RefitReport
from hetconv.adaptation.refitted_layers import LinearLayer, linear_layer
from hetconv.adaptation.statistics import Answers, choose_statistics_
from hetconv.errors import HetconvError, UsageError
from hetconv.nn import HetConv2d
from hetconv.wrappers import unwrap

RIDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Shares of each unknown's own power; the one with the smallest held-out residual is taken."""
PIXELS, PIXELS_PER_UNKNOWN = 2**14, 8
"""As many pixels as the larger of the two are drawn from all images, if doubling their number goes on to help."""
WORTH = 0.01
"""Twice the pixels must lower the held-out residual by this share, or the number is enough."""
MOST_CHANNELS = 4096
"""Of a 1×1 or linear layer that is refitted too: its equations have the square of it."""
UNCHANGED = 1e-9
"""A residual below it comes from another order of sums in float32."""


def keep_silent(_: RefitLayer) -> None:
    """Where nobody waits for the layers."""


def refit_(
    converted: nn.Module,
    original: nn.Module,
    images: Tensor | Sequence[Tensor],
    *,
    others: bool = True,
    told: Callable[[RefitLayer], None] = keep_silent,
) -> RefitReport:
    """Give the HetConv layers of a converted network the weights that come nearest to the original's outputs.

    For each layer, in the order in which the network computes them, least squares finds weights that take what the
    layer gets in the converted network, whose earlier layers are refitted already, to what the original's layer gives
    for the same images (He et al., ICCV 2017). It needs no labels and does no training. The normal equations are exact
    and in float64; the ridge and the number of pixels are those of the smallest residual on images that are held out,
    and a layer keeps its weights where nothing lowers that. A layer's constant goes into its bias, or into the running
    mean of the batch norm that takes its output. In the end batch norm statistics are re-estimated on the images, and
    kept if that brings the network's outputs nearer to the original's.

    Args:
        converted: what `convert_` made of a copy of the original; changed in place.
        original: the trained network; left as it is.
        images: inputs like those the network will see, normalized as for it: one tensor (B, C, H, W), or a list of
            such of several sizes, of which whole entries are held out. Some hundreds are wanted.
        others: refit the 1×1 convolutions and linear layers behind HetConv layers too.
        told: called after each layer.

    Raises:
        UsageError: there are no HetConv layers; the original has not the same layers; the images are too few or do not
            fit the networks.
        HetconvError: a layer gets or gives NaN or infinity. `converted` is then as it was before.
    """
    converted, original = unwrap(converted), unwrap(original)
    batches = ImageBatches.of(images)
    pairs = _pairs(converted, original) | (_others(converted, original) if others else {})
    with unchanged_on_error(converted), inference(converted, original):
        return _refitted(converted, original, pairs, batches, told)


@dataclass(frozen=True, eq=False)
class Pair:
    """A layer of the converted network and the original's layer in its place."""

    name: str
    layer: LinearLayer
    original: nn.Module


def _pairs(converted: nn.Module, original: nn.Module) -> dict[str, Pair]:
    modules = dict(original.named_modules())
    found = {}
    for name, module in converted.named_modules():
        if not isinstance(module, HetConv2d):
            continue
        if name not in modules:
            raise UsageError(f"original has no layer {name}; it must be the network that was converted")
        layer = linear_layer(name, module)
        reason = layer.why_not_alike(LinearLayer.of(modules[name]))
        if reason is not None:
            raise UsageError(f"{name} is not the original's layer: {reason}")
        if modules[name] is module:
            raise UsageError(
                "converted and original share their layers; convert a copy (copy.deepcopy) of the original"
            )
        found[name] = Pair(name, layer, modules[name])
    if not found:
        raise UsageError(f"{type(converted).__name__} has no HetConv layers; convert it first: hetconv.convert_")
    return found


def _others(converted: nn.Module, original: nn.Module) -> dict[str, Pair]:
    """The layers of one tap that both networks have; the others are too large for equations, or have no such form."""
    modules = dict(original.named_modules())
    found = {}
    for name, module in converted.named_modules():
        layer, its = LinearLayer.of(module), modules.get(name, module)
        if isinstance(layer, str) or isinstance(module, HetConv2d) or its is module:
            continue
        small = layer.pattern.taps == 1 and layer.pattern.in_channels <= MOST_CHANNELS
        if small and layer.why_not_alike(LinearLayer.of(its)) is None:
            found[name] = Pair(name, layer, its)
    return found


def _refitted(
    converted: nn.Module,
    original: nn.Module,
    pairs: dict[str, Pair],
    batches: ImageBatches,
    told: Callable[[RefitLayer], None],
) -> RefitReport:
    right = Answers.of(original, batches.held_out)
    error_before = right.error_of(converted)
    names = {pair.layer.module: name for name, pair in pairs.items()}
    calls = calls_in_order(converted, names, batches.held_out[0])
    layers = []
    for name, called in calls.items():
        layer = _refit_layer(converted, original, pairs[name], called, batches)
        if isinstance(pairs[name].layer.module, HetConv2d) or layer.residual_before > UNCHANGED:
            layers.append(layer)
            told(layer)
    statistics = choose_statistics_(converted, right, batches)
    error_after = right.error_of(converted)
    never = tuple(
        name for name, pair in pairs.items() if name not in calls and isinstance(pair.layer.module, HetConv2d)
    )
    images = batches.fitted_images + batches.held_out_images
    return RefitReport(tuple(layers), never, images, statistics, error_before, error_after)


def _refit_layer(
    converted: nn.Module, original: nn.Module, pair: Pair, calls: Calls, batches: ImageBatches
) -> RefitLayer:
    """Solve for one layer.

    What a layer gets in its second call depends on its own weights: those come from its first call alone, and then from
    all calls with them in place.
    """
    fit = _Fit(converted, original, pair, calls, batches)
    start = fit.kernels()
    judge = fit.judge(calls.count)
    before = judge.residual(start)
    if before < UNCHANGED:
        return RefitLayer(pair.name, pair.layer.pattern.p, start.shape[1], 0, None, before, before)
    best = fit.solve(1, judge if calls.count == 1 else fit.judge(1))
    fit.put(best.kernels)
    after = best.residual
    if calls.count > 1:
        best = fit.solve(calls.count, fit.judge(calls.count))
        fit.put(best.kernels)
        after = fit.judge(calls.count).residual(best.kernels)
        if after >= before:
            best, after = _Solution(before, start, None, best.pixels), before
            fit.put(start)
    return RefitLayer(pair.name, pair.layer.pattern.p, start.shape[1], best.pixels, best.ridge, before, after)


@dataclass(frozen=True, eq=False)
class _Solution:
    residual: float
    kernels: Tensor
    ridge: float | None
    pixels: int


@dataclass(frozen=True, eq=False)
class _Fit:
    """Least squares for one layer, on the first calls of it in each pass."""

    converted: nn.Module
    original: nn.Module
    pair: Pair
    calls: Calls
    batches: ImageBatches

    @property
    def has_constant(self) -> bool:
        return self.pair.layer.bias is not None or self.calls.norm is not None

    @property
    def pixels(self) -> int:
        return max(PIXELS, PIXELS_PER_UNKNOWN * self.kernels().shape[1])

    def kernels(self) -> Tensor:
        """The layer's present weights."""
        layer = self.pair.layer
        found = kernels_of(layer.pattern, *layer.weights, layer.bias)
        return found if self.has_constant else found[:, :-1]

    def judge(self, calls: int) -> System:
        """The equations of the images that are held out."""
        equations = self._equations()
        for images in self.batches.held_out:
            self._gather(equations, images, calls, ceil(self.pixels / 4 / self.batches.held_out_images))
        return self._system(equations)

    def solve(self, calls: int, judge: System) -> _Solution:
        """The best by `judge` of what more and more images and several ridges give, the start included."""
        start = self.kernels()
        best = _Solution(judge.residual(start), start, None, 0)
        last, equations, per_image = best.residual, self._equations(), ceil(self.pixels / self.batches.fitted_images)
        for number, images in enumerate(self.batches.fitted, start=1):
            self._gather(equations, images, calls, per_image)
            if number & (number - 1) and number < len(self.batches.fitted):  # at 1, 2, 4, … batches, and at the end
                continue
            found = _best(self._system(equations), judge, start)
            best = min(best, found, key=lambda one: one.residual)
            if equations.pixels >= 2 * start.shape[1] and found.residual > (1 - WORTH) * last:
                break
            last = found.residual
        return best

    def put(self, kernels: Tensor) -> None:
        """Give the layer these weights; a constant that it has no bias for goes into the batch norm behind it."""
        layer, norm = self.pair.layer, self.calls.norm
        if not self.has_constant:
            kernels = torch.cat([kernels, torch.zeros_like(kernels[:, :1])], 1)
        spatial, pointwise, constant = weights_of(layer.pattern, kernels)
        layer.set_weights(spatial, pointwise)
        if layer.bias is not None:
            layer.set_bias(constant)
        elif norm is not None:
            self._shift(norm, constant)

    def _shift(self, norm: str, constant: Tensor) -> None:
        """The batch norm behind the layer becomes the original's, for outputs that are less by a constant."""
        mine, its = self.converted.get_submodule(norm), self.original.get_submodule(norm)
        for name, value in its.named_buffers():
            mine.get_buffer(name).copy_(value)
        mine.get_buffer("running_mean").sub_(constant)

    def _equations(self) -> NormalEquations:
        return NormalEquations(self.pair.layer.pattern, self.pair.layer.weights[0].device)

    def _gather(self, equations: NormalEquations, images: Tensor, calls: int, per_image: int) -> None:
        layer = self.pair.layer
        generator = torch.Generator().manual_seed(equations.pixels)
        inputs = inputs_of(self.converted, layer.module, calls, images)
        outputs = outputs_of(self.original, self.pair.original, calls, images)
        for x, y in zip(map(layer.images, inputs), map(layer.images, outputs), strict=True):
            equations.add(*sample_patches(layer, x, y, per_image, generator))

    def _system(self, equations: NormalEquations) -> System:
        found = equations.system()
        if not found.is_finite:
            raise HetconvError(f"{self.pair.name} gets or gives values that are not finite on these images")
        return found if self.has_constant else found.without_constant()


def _best(system: System, judge: System, start: Tensor) -> _Solution:
    """The smallest residual on what is held out, of all ridges and held near the start or near zero; else the start."""
    found = [_Solution(judge.residual(start), start, None, system.pixels)]
    for ridge in RIDGES:
        for kernels in system.solve([start, torch.zeros_like(start)], ridge):
            found.append(_Solution(judge.residual(kernels), kernels, ridge, system.pixels))
    return min(found, key=lambda one: one.residual)
