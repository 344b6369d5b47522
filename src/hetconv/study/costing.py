"""What each variant of a network costs, counted and measured together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from hetconv.cost import complexity, latency, layer_latencies
from hetconv.deployment import deploy
from hetconv.errors import HetconvError
from hetconv.records import Circumstances, Complexity, VariantCost

DEPLOYED = "deployed "


def measure_costs(
    models: Mapping[str, nn.Module],
    dense: nn.Module,
    input_size: tuple[int, int, int],
    *,
    batch_size: int = 1,
    samples: int = 30,
    counted: Mapping[str, Complexity] | None = None,
) -> tuple[Circumstances, tuple[VariantCost, ...]]:
    """Count variants of one network, and time them deployed and in eager PyTorch, all interleaved.

    Nothing of it depends on the values of the weights.

    Args:
        dense: the network against which MACs are compared.
        batch_size: images in the batch that is timed; counts are for one image.
        counted: of variants whose modules cannot be counted, because a runtime has them.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for model in models.values():
        model.to(device)
    dense_macs = complexity(dense, input_size).macs
    given = {} if counted is None else counted
    counts = {variant: given.get(variant) or complexity(model, input_size) for variant, model in models.items()}
    example = torch.randn(batch_size, *input_size, generator=torch.Generator().manual_seed(0)).to(device)
    deployed, reasons = _deployed(models, example)
    measured = latency({**models, **deployed}, example, samples=samples)
    costs = tuple(
        VariantCost(
            variant,
            timed_by_layer(counts[variant], model, example, samples),
            measured.latencies.get(DEPLOYED + variant, measured.latencies[variant]),
            dense_macs / counts[variant].macs if counts[variant].macs else 1.0,
            measured.latencies[variant] if DEPLOYED + variant in deployed else None,
            reasons.get(variant),
        )
        for variant, model in models.items()
    )
    return measured.circumstances, costs


def _deployed(models: Mapping[str, nn.Module], example: Tensor) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The networks deployed, named `DEPLOYED` and the variant, and why others are not."""
    deployed: dict[str, nn.Module] = {}
    reasons: dict[str, str] = {}
    for variant, model in models.items():
        try:
            deployed[DEPLOYED + variant] = deploy(model, example)
        except HetconvError as error:
            reasons[variant] = str(error)
    return deployed, reasons


def timed_by_layer(counted: Complexity, model: nn.Module, example: Tensor, samples: int = 20) -> Complexity:
    """The same counts with each layer's measured share of the forward pass of `example`."""
    inside = dict(model.named_modules())
    names = [layer.name for layer in counted.layers if layer.name in inside]
    times = layer_latencies(model, example, names, samples)
    return replace(counted, layers=tuple(replace(layer, latency_ms=times.get(layer.name)) for layer in counted.layers))
