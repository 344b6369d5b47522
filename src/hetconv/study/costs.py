"""The costs that a study keeps: of every variant before training, of compressed ones when it is known what is left."""

from __future__ import annotations

from dataclasses import replace

import torch

from hetconv.records import StudySettings
from hetconv.study.comparison import Comparison
from hetconv.study.compressed import compressed_run
from hetconv.study.costing import measure_costs
from hetconv.study.progress import CompareProgress
from hetconv.study.store import Costs, Store
from hetconv.study.worker import Part
from hetconv.train import Progress


def known_costs(part: Part, settings: StudySettings, progress: CompareProgress) -> Costs:
    """Complexity and latency of every variant that is not compressed.

    They are those of costs.json if it has them all, measured alike; else all are measured anew.
    """
    comparison = replace(part.comparison, variants=settings.variants)
    kept = part.store.load_costs()
    if kept is not None and _measured_alike(kept, comparison):
        return kept
    plain = tuple(variant for variant in comparison.variants if variant not in comparison.compressed)
    progress.costing(plain or ("dense",))
    models = {variant: comparison.build(variant, part.data.num_classes) for variant in plain or ("dense",)}
    dense = models.get("dense") or comparison.build("dense", part.data.num_classes)
    circumstances, found = measure_costs(
        models, dense, part.data.input_size, batch_size=comparison.latency_batch, samples=comparison.latency_samples
    )
    costs = Costs(circumstances, found)
    part.store.save_costs(costs)
    return costs


def complete_costs(part: Part, settings: StudySettings, progress: CompareProgress) -> Costs:
    """The costs with those of compressed variants, as their run from the first seed left them; where one of them is not
    known yet, all are measured once more, interleaved."""
    costs = part.store.load_costs() or known_costs(part, settings, progress)
    comparison = replace(part.comparison, variants=settings.variants, seeds=settings.seeds)
    finished = tuple(variant for variant in comparison.compressed if _is_done(part.store, variant, comparison.seeds[0]))
    if {cost.variant for cost in costs.costs} >= set(finished):
        return costs
    progress.costing(comparison.variants)
    plain = (variant for variant in comparison.variants if variant not in comparison.compressed)
    models = {variant: comparison.build(variant, part.data.num_classes) for variant in plain}
    counted = {}
    for variant in finished:
        torch.manual_seed(comparison.seeds[0])
        base = comparison.build(variant, part.data.num_classes)
        run = compressed_run(comparison, part.data, part.store, variant, comparison.seeds[0])
        found = run.compress(base, part.data, Progress())
        models[variant], counted[variant] = found.model, found.record.complexity
    dense = comparison.build("dense", part.data.num_classes)
    circumstances, measured = measure_costs(
        models, dense, part.data.input_size, batch_size=comparison.latency_batch, samples=comparison.latency_samples,
        counted=counted,
    )  # fmt: skip
    costs = Costs(circumstances, measured)
    part.store.save_costs(costs)
    return costs


def _is_done(store: Store, variant: str, seed: int) -> bool:
    run = store.load_run(variant, seed)
    return run is not None and run.state == "done"


def _measured_alike(costs: Costs, comparison: Comparison) -> bool:
    at, known = costs.circumstances, {cost.variant for cost in costs.costs}
    return (
        known >= {variant for variant in comparison.variants if variant not in comparison.compressed}
        and known <= {*comparison.variants, "dense"}
        and at.batch_size == comparison.latency_batch
        and at.threads == torch.get_num_threads()
    )
