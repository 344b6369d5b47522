"""How much a network loses by each P of each layer: from least squares on images, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.adaptation.image_batches import ImageBatches
from hetconv.adaptation.normal_equations import NormalEquations, System, kernels_of, weights_of
from hetconv.adaptation.passes import calls_in_order, inference, inputs_of, outputs_of
from hetconv.adaptation.patches import sample_patches
from hetconv.adaptation.refitted_layers import LinearLayer, linear_layer
from hetconv.adaptation.statistics import output_error
from hetconv.errors import HetconvError
from hetconv.ops.weights import from_dense_weight, to_dense_weight
from hetconv.pattern import HetPattern

PIXELS, PIXELS_PER_UNKNOWN = 2**12, 3
ROWS = 1024
"""So many pixels at a time are brought to float64."""
RIDGES = (1e-6, 1e-4, 1e-2)
REFERENCE, SHOWS = 4, 1e-8
"""The P at which the network's own outputs are looked at; the least residual that shows in them."""


def layer_losses(
    model: nn.Module,
    parts: Mapping[str, Sequence[int]],
    images: ImageBatches,
    told: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[int, float]]:
    """The mean square error of the network's outputs that each P of each layer brings, layers taken one at a time.

    For every P, least squares gives the share r(P) of the layer's output that is lost. What that does to the network is
    measured once a layer, with the weights of one P in place, and taken as proportional to r.

    Args:
        parts: the P that are asked for, by layer. Layers that the images do not reach are not in the answer.
        told: called with each layer's name when it is done.
    """
    modules = dict(model.named_modules())
    names = {modules[name]: name for name in parts}
    found = {}
    with inference(model):
        for name, calls in calls_in_order(model, names, images.held_out[0]).items():
            layer = linear_layer(name, modules[name])
            fitted, held_out = _samples(model, layer, calls.count, images)
            residuals, kernels = {}, {}
            for p in parts[name]:
                pattern = HetPattern(layer.pattern.in_channels, layer.pattern.out_channels, layer.pattern.kernel_hw, p)
                residuals[p], kernels[p] = _solved(name, layer, pattern, fitted, held_out)
            p = _reference(residuals)
            weight = _error(model, layer, p, kernels[p], images) ** 2 / residuals[p] if residuals[p] else 1.0
            found[name] = {p: weight * residual for p, residual in residuals.items()}
            told(name)
    return found


def _reference(residuals: Mapping[int, float]) -> int:
    """The P to look at: REFERENCE, a smaller one, or, where those lose nothing that shows in float32, the largest."""
    tried = [p for p in residuals if p <= REFERENCE and residuals[p] > SHOWS]
    return max(tried, default=max(residuals))


Sample = tuple[Tensor, Tensor]


def _samples(model: nn.Module, layer: LinearLayer, calls: int, images: ImageBatches) -> tuple[Sample, Sample]:
    """Patches and outputs of the layer at some pixels: to fit on, and held out."""
    unknowns = layer.pattern.weights // layer.pattern.out_channels
    wanted = max(PIXELS, PIXELS_PER_UNKNOWN * unknowns // 2)  # P=2 has about half of the unknowns
    return (
        _sample(model, layer, calls, images.fitted, wanted),
        _sample(model, layer, calls, images.held_out, wanted // 4),
    )


def _sample(model: nn.Module, layer: LinearLayer, calls: int, batches: Sequence[Tensor], wanted: int) -> Sample:
    generator = torch.Generator().manual_seed(0)
    per_image = ceil(wanted / sum(map(len, batches)) / calls)
    patches, targets = [], []
    for batch in batches:
        inputs = inputs_of(model, layer.module, calls, batch)
        outputs = outputs_of(model, layer.module, calls, batch)
        for x, y in zip(map(layer.images, inputs), map(layer.images, outputs), strict=True):
            rows = sample_patches(layer, x, y, per_image, generator)
            patches.append(rows[0])
            targets.append(rows[1])
    return torch.cat(patches), torch.cat(targets)


def _solved(
    name: str, layer: LinearLayer, pattern: HetPattern, fitted: Sample, held_out: Sample
) -> tuple[float, Tensor]:
    """The held-out residual, and the kernels that have it."""
    system, judge = (_system(name, pattern, sample) for sample in (fitted, held_out))
    start = kernels_of(pattern, *from_dense_weight(layer.weights[0], pattern), layer.bias)
    solved = [kernels for ridge in RIDGES for kernels in system.solve([start, torch.zeros_like(start)], ridge)]
    kernels = min([start, *solved], key=judge.residual)
    return judge.residual(kernels), kernels


def _system(name: str, pattern: HetPattern, sample: Sample) -> System:
    equations = NormalEquations(pattern, sample[0].device)
    for rows in zip(*(tensor.split(ROWS) for tensor in sample), strict=True):
        equations.add(*rows)
    found = equations.system()
    if not found.is_finite:
        raise HetconvError(f"{name} gets or gives values that are not finite on these images")
    return found


def _error(model: nn.Module, layer: LinearLayer, p: int, kernels: Tensor, images: ImageBatches) -> float:
    """The relative error of the network's outputs with these kernels in the layer's place."""
    sizes = layer.pattern
    pattern = HetPattern(sizes.in_channels, sizes.out_channels, sizes.kernel_hw, p)
    spatial, pointwise, constant = weights_of(pattern, kernels)
    weight = to_dense_weight(spatial, pointwise, pattern).to(layer.weights[0].dtype)
    bias = constant.to(weight.dtype)

    def instead(_: nn.Module, args: tuple[Tensor], __: Tensor) -> Tensor:
        x = layer.padded(args[0])
        return functional.conv2d(x, weight, bias, layer.where.stride, 0, layer.where.dilation)

    class Changed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            handle = layer.module.register_forward_hook(instead)
            try:
                return model(x)  # type: ignore[no-any-return]
            finally:
                handle.remove()

    return output_error(Changed(), model, images.held_out)
