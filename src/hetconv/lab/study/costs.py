"""What the variants of a network cost, counted and measured together, and the costs that a study keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from hetconv.cost import complexity, latency, layer_latencies
from hetconv.deployment import deploy
from hetconv.errors import HetconvError, UsageError
from hetconv.lab.compress import CompressedModel
from hetconv.lab.results import VariantCost
from hetconv.lab.settings import Comparison
from hetconv.lab.study.network_study import NetworkStudy
from hetconv.lab.study.one_run import compress_run
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.study.store import Costs
from hetconv.lab.train import Progress
from hetconv.lab.variant import DENSE, Variant
from hetconv.records import Circumstances, Complexity

DEPLOYED = "deployed "


def known_costs(study: NetworkStudy, progress: CompareProgress) -> Costs:
    """Complexity and latency of every variant that is not compressed.

    They are those of costs.json if it has them all, measured alike; else all are measured anew.
    """
    kept = study.store.load_costs()
    if kept is not None and _measured_alike(kept, study.comparison):
        return kept
    return _measure(study, {}, progress)


def complete_costs(study: NetworkStudy, progress: CompareProgress) -> Costs:
    """The costs with those of compressed variants, as their run from the first seed left them; where one of them is not
    known yet, all are measured once more, interleaved. One whose weights are gone is left out."""
    costs = known_costs(study, progress)
    known, first = {cost.variant for cost in costs.costs}, study.comparison.seeds[0]
    if known >= {variant.spec for variant in study.comparison.compressed if _is_done(study, variant, first)}:
        return costs
    compressed = dict(_compressed(study, progress))
    return _measure(study, compressed, progress) if compressed.keys() - known else costs


def _measure(study: NetworkStudy, compressed: Mapping[str, CompressedModel], progress: CompareProgress) -> Costs:
    """Measure all variants that are not compressed, and these that are, and keep the costs."""
    comparison = study.comparison
    plain = tuple(variant for variant in comparison.variants if variant not in comparison.compressed)
    models = {variant.spec: study.build(variant) for variant in plain or (() if compressed else (DENSE,))}
    progress.costing((*models, *compressed))
    dense = models.get(DENSE.spec) or study.build(DENSE)
    circumstances, measured = measure_costs(
        models | {variant: found.model for variant, found in compressed.items()}, dense, study.data.input_size,
        batch_size=comparison.latency_batch, samples=comparison.latency_samples,
        counted={variant: found.record.complexity for variant, found in compressed.items()},
    )  # fmt: skip
    costs = Costs(circumstances, measured)
    study.store.save_costs(costs)
    return costs


def _compressed(study: NetworkStudy, progress: CompareProgress) -> Iterator[tuple[str, CompressedModel]]:
    """The compressed variants whose run from the first seed is done, from its checkpoints."""
    seed = study.comparison.seeds[0]
    for variant in study.comparison.compressed:
        if not _is_done(study, variant, seed):
            continue
        torch.manual_seed(seed)
        base = study.build(variant)
        folder = study.store.run(variant.spec, seed).path
        try:
            yield variant.spec, compress_run(study, variant, seed, folder, base, _NoTraining())
        except _WeightsGoneError:
            progress.notice(f"{variant} seed {seed}: its weights are gone, so that its time cannot be measured")


class _WeightsGoneError(HetconvError):
    """A finished run would have to be trained again."""


class _NoTraining(Progress):
    """Stops where something would be trained."""

    def step(self, epoch: int, step: int, steps: int) -> None:
        raise _WeightsGoneError


def _is_done(study: NetworkStudy, variant: Variant, seed: int) -> bool:
    run = study.store.run(variant.spec, seed).ended()
    return run is not None and run.state == "done"


def _measured_alike(costs: Costs, comparison: Comparison) -> bool:
    at, known = costs.circumstances, {cost.variant for cost in costs.costs}
    return (
        known >= {variant.spec for variant in comparison.variants if variant not in comparison.compressed}
        and known <= {variant.spec for variant in (*comparison.variants, DENSE)}
        and at.batch_size == comparison.latency_batch
        and at.threads == torch.get_num_threads()
    )


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
            deployed[DEPLOYED + variant] = deploy(model, example, timed=False)
        except (HetconvError, UsageError) as error:
            reasons[variant] = str(error)
    return deployed, reasons


def timed_by_layer(counted: Complexity, model: nn.Module, example: Tensor, samples: int = 20) -> Complexity:
    """The same counts with each layer's measured share of the forward pass of `example`."""
    inside = dict(model.named_modules())
    names = [layer.name for layer in counted.layers if layer.name in inside]
    times = layer_latencies(model, example, names, samples)
    return replace(counted, layers=tuple(replace(layer, latency_ms=times.get(layer.name)) for layer in counted.layers))
