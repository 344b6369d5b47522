"""Train every variant from every seed, cost each variant, and keep all of it as it comes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from hetconv.compress import StageSettings, parse_method
from hetconv.cost import complexity
from hetconv.errors import NotFiniteError, UsageError
from hetconv.models import create_model, parse_variant
from hetconv.records import Epoch, Results, Run, StudySettings
from hetconv.study.compressed import CompressedRun, joined_epochs
from hetconv.study.costing import measure_costs
from hetconv.study.store import Costs, Store
from hetconv.train import Data, Progress, Recipe, load_data, train


@dataclass(frozen=True)
class Comparison:
    """What `hetconv compare` is asked for.

    Attributes:
        network: any name that `hetconv.create_model` takes; `width` scales the four own ones.
        variants, seeds: every variant is trained from every seed.
        data: any name that `hetconv.train.load_data` takes; `train_limit` and `image_size` as there.
        latency_batch: images in the batch whose forward pass is timed.
        stages: how networks that are compressed are trained after `recipe`.
    """

    network: str
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    recipe: Recipe
    width: float = 1.0
    image_size: int = 224
    train_limit: int | None = None
    latency_batch: int = 1
    latency_samples: int = 30
    stages: StageSettings = field(default_factory=StageSettings)

    def __post_init__(self) -> None:
        for name in ("variants", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise UsageError(f"{name}={','.join(map(str, values))!r} must name at least one, and each only once")
        for variant in self.variants:
            method = parse_variant(variant).method
            if method is not None:
                parse_method(method)
        if self.latency_batch < 1 or self.latency_samples < 1:
            raise UsageError("latency_batch and latency_samples must be at least 1")

    def build(self, variant: str, num_classes: int) -> nn.Module:
        """The untrained network; of a variant that is compressed after training, its base."""
        return create_model(self.network, self.base(variant), num_classes, width=self.width)

    def base(self, variant: str) -> str:
        parsed = parse_variant(variant)
        return variant if parsed.method is None else parsed.base


class CompareProgress(Progress):
    """What a comparison tells while it runs; this one keeps silent."""

    def run(self, variant: str, seed: int, epochs_done: int, epochs: int) -> None:
        """A run begins, or goes on, or (epochs_done == epochs) was finished before."""

    def costing(self, variants: tuple[str, ...]) -> None:
        """Complexity and latency of these are about to be measured."""


def compare(comparison: Comparison, folder: Path, progress: CompareProgress | None = None) -> Results:
    """Run a comparison in a folder, going on from whatever is there already.

    Variants are costed first, then trained; those that are compressed are costed last, when it is known what is left
    of them, with all others once more, interleaved. results.json is brought up to date after each run. Finished runs
    are not trained again; an unfinished one goes on from its last epoch. A run whose loss is no longer finite is kept
    as failed, with the reason, and the others go on.

    Raises:
        UsageError: a name is wrong, or the folder holds another study.
        HetconvError: something could not be written; what was written before stands.
    """
    progress = progress or CompareProgress()
    data = load_data(comparison.data, image_size=comparison.image_size, train_limit=comparison.train_limit)
    for variant in comparison.variants:
        _check_classifies(comparison.build(variant, data.num_classes), variant, data)
    store = Store(folder)
    with store.locked():
        settings = store.open(_settings(comparison, data))
        costs = _costs(replace(comparison, variants=settings.variants), data, store, progress)
        for seed in comparison.seeds:
            for variant in comparison.variants:
                _run(comparison, data, store, variant, seed, progress)
                _save_results(store, settings, costs)
        costs = _costs_with_compressed(replace(comparison, variants=settings.variants), data, store, costs, progress)
        return _save_results(store, settings, costs)


def _save_results(store: Store, settings: StudySettings, costs: Costs) -> Results:
    """Everything that the study has found so far, whichever command found it."""
    found = (store.load_run(variant, seed) for variant in settings.variants for seed in settings.seeds)
    results = Results(settings, costs.circumstances, tuple(run for run in found if run is not None), costs.costs)
    store.save_results(results)
    return results


def _check_classifies(model: nn.Module, variant: str, data: Data) -> None:
    """Find out before hours of training that a network does not take these images, or is no classifier."""
    complexity(model, data.input_size)
    with torch.no_grad():
        output = model.eval()(torch.zeros(1, *data.input_size))
    if not isinstance(output, torch.Tensor) or output.shape != (1, data.num_classes):
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UsageError(
            f"{variant}: the network gives {shape}, not (batch, {data.num_classes}); it must be a classifier"
        )


def _settings(comparison: Comparison, data: Data) -> StudySettings:
    network = comparison.network if comparison.width == 1.0 else f"{comparison.network} × {comparison.width:g}"
    stages = {name: value for name, value in asdict(comparison.stages).items() if value is not None}
    return StudySettings(
        network, data.name, data.num_classes, data.input_size, data.train_images, data.test_images,
        comparison.variants, comparison.seeds,
        TypeAdapter(Recipe).dump_python(comparison.recipe, mode="json") | stages,
    )  # fmt: skip


def _run(comparison: Comparison, data: Data, store: Store, variant: str, seed: int, progress: CompareProgress) -> None:
    """Train one variant from one seed, unless that has ended before, well or badly."""
    run = store.load_run(variant, seed) or Run(variant, seed, "running")
    epochs = comparison.recipe.epochs
    ended = run.state != "running"
    progress.run(variant, seed, epochs if ended else len(run.epochs), epochs)
    if ended:
        return
    torch.manual_seed(seed)
    model = comparison.build(variant, data.num_classes)
    keeper = _Keeper(store, variant, seed, progress)
    compression = None
    try:
        if parse_variant(variant).method is not None:
            compression = _compressed(comparison, data, store, variant, seed).compress(model, data, keeper).record
        found = joined_epochs(compression.stages) if compression is not None else train(
            model, data, comparison.recipe, seed,
            checkpoint=store.checkpoint(variant, seed), identity=_identity(comparison, data, variant, seed),
            progress=keeper,
        )  # fmt: skip
    except NotFiniteError as error:
        store.save_run(Run(variant, seed, "failed", keeper.epochs, str(error)))
        progress.notice(f"{variant} seed {seed}: {error}")
        return
    store.save_run(Run(variant, seed, "done", found, compression=compression))


def _compressed(comparison: Comparison, data: Data, store: Store, variant: str, seed: int) -> CompressedRun:
    base = comparison.base(variant)
    return CompressedRun(
        parse_variant(variant), seed, comparison.recipe, comparison.stages, store.run_folder(variant, seed),
        _identity(comparison, data, variant, seed), store.checkpoint(base, seed),
        _identity(comparison, data, base, seed),
    )  # fmt: skip


def _identity(comparison: Comparison, data: Data, variant: str, seed: int) -> dict[str, Any]:
    """What a checkpoint must be of to be gone on from, as JSON gives it back."""
    if parse_variant(variant).method is None:
        comparison = replace(comparison, stages=StageSettings())
    settings = _settings(replace(comparison, variants=(variant,), seeds=(seed,)), data)
    return TypeAdapter(StudySettings).dump_python(settings, mode="json")  # type: ignore[no-any-return]


class _Keeper(Progress):
    """Passes progress on, and keeps the run's record up to date with its checkpoint."""

    def __init__(self, store: Store, variant: str, seed: int, progress: CompareProgress) -> None:
        self.store, self.variant, self.seed, self.progress = store, variant, seed, progress
        self.epochs: tuple[Epoch, ...] = ()

    def resumed(self, epochs: tuple[Epoch, ...]) -> None:
        self.epochs = epochs
        self.progress.resumed(epochs)

    def step(self, epoch: int, step: int, steps: int) -> None:
        self.progress.step(epoch, step, steps)

    def epoch(self, found: Epoch) -> None:
        self.epochs = (*self.epochs, found)
        self.store.save_run(Run(self.variant, self.seed, "running", self.epochs))
        self.progress.epoch(found)

    def notice(self, text: str) -> None:
        self.progress.notice(f"{self.variant} seed {self.seed}: {text}")


def _costs(comparison: Comparison, data: Data, store: Store, progress: CompareProgress) -> Costs:
    """Complexity and latency of every variant: costs.json if it has just these, measured alike; else all anew.

    What variants that are compressed cost is not known yet.
    """
    plain = tuple(variant for variant in comparison.variants if parse_variant(variant).method is None)
    kept = store.load_costs()
    if kept is not None and _measured_alike(kept, comparison):
        return kept
    progress.costing(plain)
    models = {variant: comparison.build(variant, data.num_classes) for variant in plain or ("dense",)}
    dense = models.get("dense") or comparison.build("dense", data.num_classes)
    circumstances, found = measure_costs(
        models, dense, data.input_size, batch_size=comparison.latency_batch, samples=comparison.latency_samples
    )
    costs = Costs(circumstances, found)
    store.save_costs(costs)
    return costs


def _costs_with_compressed(
    comparison: Comparison, data: Data, store: Store, costs: Costs, progress: CompareProgress
) -> Costs:
    """The costs with those of compressed variants, as their run from the first seed left them; the same where all of
    them are known already."""
    methods = [variant for variant in comparison.variants if parse_variant(variant).method is not None]
    seed = comparison.seeds[0]
    finished = [v for v in methods if (run := store.load_run(v, seed)) is not None and run.state == "done"]
    if {cost.variant for cost in costs.costs} >= set(finished):
        return costs
    progress.costing(comparison.variants)
    plain = [variant for variant in comparison.variants if variant not in methods]
    models = {variant: comparison.build(variant, data.num_classes) for variant in plain}
    counted = {}
    for variant in finished:
        torch.manual_seed(seed)
        base = comparison.build(variant, data.num_classes)
        found = _compressed(comparison, data, store, variant, seed).compress(base, data, Progress())
        models[variant], counted[variant] = found.model, found.record.complexity
    dense = comparison.build("dense", data.num_classes)
    circumstances, measured = measure_costs(
        models, dense, data.input_size, batch_size=comparison.latency_batch, samples=comparison.latency_samples,
        counted=counted,
    )  # fmt: skip
    costs = Costs(circumstances, measured)
    store.save_costs(costs)
    return costs


def _measured_alike(costs: Costs, comparison: Comparison) -> bool:
    at = costs.circumstances
    return (
        {cost.variant for cost in costs.costs} >= {v for v in comparison.variants if parse_variant(v).method is None}
        and {cost.variant for cost in costs.costs} <= {*comparison.variants, "dense"}
        and at.batch_size == comparison.latency_batch
        and at.threads == torch.get_num_threads()
    )
