"""One run: train one variant of one network from one seed, and compress it, going on from its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from hetconv.errors import NotFiniteError
from hetconv.models import parse_variant
from hetconv.records import Epoch, Run
from hetconv.study.comparison import Comparison
from hetconv.study.compressed import compressed_run, joined_epochs
from hetconv.study.progress import CompareProgress
from hetconv.study.store import Store
from hetconv.train import Data, Progress, train


class TakenOverError(Exception):
    """Another process does this run by now; what this one has found of it is not needed."""


@dataclass(frozen=True)
class Watcher:
    """Whom a run tells of itself. What either call raises ends the run, which can then be gone on with.

    Attributes:
        reached: called after an epoch was stored.
        goes_on: called after every epoch.
    """

    reached: Callable[[Epoch], None]
    goes_on: Callable[[], None]


def do_run(
    comparison: Comparison, data: Data, store: Store, variant: str, seed: int, progress: CompareProgress,
    watcher: Watcher,
) -> Run:  # fmt: skip
    """Train, and keep the run's record up to date with its checkpoint.

    A run whose loss is no longer finite is returned as failed, with the reason.
    """
    epochs = comparison.recipe.epochs
    before = store.load_run(variant, seed)
    done = 0 if before is None or before.state != "running" else len(before.epochs)
    progress.run(variant, seed, min(done, epochs - 1), epochs)
    torch.manual_seed(seed)
    model = comparison.build(variant, data.num_classes)
    keeper = _Keeper(store, variant, seed, progress, watcher)
    try:
        if parse_variant(variant).method is not None:
            record = compressed_run(comparison, data, store, variant, seed).compress(model, data, keeper).record
            return Run(variant, seed, "done", joined_epochs(record.stages), compression=record)
        found = train(
            model, data, comparison.recipe, seed,
            checkpoint=store.checkpoint(variant, seed), identity=comparison.identity(data, variant, seed),
            progress=keeper,
        )  # fmt: skip
    except NotFiniteError as error:
        progress.notice(f"{variant} seed {seed}: {error}")
        return Run(variant, seed, "failed", keeper.epochs, str(error))
    return Run(variant, seed, "done", found)


class _Keeper(Progress):
    """Passes progress on, and keeps the run's record up to date with its checkpoint."""

    def __init__(self, store: Store, variant: str, seed: int, progress: CompareProgress, watcher: Watcher) -> None:
        self.store, self.variant, self.seed, self.progress, self.watcher = store, variant, seed, progress, watcher
        self.epochs: tuple[Epoch, ...] = ()

    def resumed(self, epochs: tuple[Epoch, ...]) -> None:
        self.epochs = epochs
        self.progress.resumed(epochs)

    def step(self, epoch: int, step: int, steps: int) -> None:
        self.progress.step(epoch, step, steps)

    def stored(self, found: Epoch) -> None:
        self.store.save_run(Run(self.variant, self.seed, "running", (*self.epochs, found)))
        self.watcher.reached(found)

    def epoch(self, found: Epoch) -> None:
        self.epochs = (*self.epochs, found)
        self.watcher.goes_on()
        self.progress.epoch(found)

    def notice(self, text: str) -> None:
        self.progress.notice(f"{self.variant} seed {self.seed}: {text}")
