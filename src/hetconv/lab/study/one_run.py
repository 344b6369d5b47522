"""One run: train one variant of one network from one seed, and compress it, going on from its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from hetconv.errors import NotFiniteError
from hetconv.lab.results import Epoch, Run
from hetconv.lab.settings import RunKey
from hetconv.lab.study.attempts import RECORD, Attempt
from hetconv.lab.study.compressed import compressed_run, joined_epochs
from hetconv.lab.study.network_study import NetworkStudy
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.train import Progress, train
from hetconv.records import save_record


class TakenOverError(Exception):
    """Another process does this run by now; what this one has found of it is not needed."""


def do_run(
    study: NetworkStudy, key: RunKey, attempt: Attempt, progress: CompareProgress, goes_on: Callable[[], None]
) -> Run:
    """Train in an attempt's folder, and keep the attempt's record up to date with its checkpoint.

    A run whose loss is no longer finite is returned as failed, with the reason.

    Args:
        goes_on: called after every epoch; what it raises ends the run, which can then be gone on with.
    """
    variant, seed, recipe = key.variant, key.seed, study.comparison.recipe
    epochs = recipe.epochs
    progress.run(variant.spec, seed, min(len(attempt.progress.epochs), epochs - 1), epochs)
    torch.manual_seed(seed)
    model = study.starting_network(variant)
    keeper = _Keeper(key, attempt, progress, goes_on)
    try:
        if variant.method is not None:
            record = compressed_run(study, variant, seed, attempt.folder).compress(model, study.data, keeper).record
            return Run(variant.spec, seed, "done", joined_epochs(record.stages), compression=record)
        found = train(
            model, study.data, recipe, seed, checkpoint=attempt.checkpoint,
            identity=study.identity(variant, seed), progress=keeper, objective=study.objective,
        )  # fmt: skip
    except NotFiniteError as error:
        progress.notice(f"{variant} seed {seed}: {error}")
        return Run(variant.spec, seed, "failed", keeper.epochs, str(error))
    return Run(variant.spec, seed, "done", found)


@dataclass
class _Keeper(Progress):
    """Passes progress on, and keeps the attempt's record up to date with its checkpoint."""

    key: RunKey
    attempt: Attempt
    progress: CompareProgress
    goes_on: Callable[[], None]
    epochs: tuple[Epoch, ...] = ()

    def resumed(self, epochs: tuple[Epoch, ...]) -> None:
        self.epochs = epochs
        self.progress.resumed(epochs)

    def step(self, epoch: int, step: int, steps: int) -> None:
        self.progress.step(epoch, step, steps)

    def may_store(self) -> bool:
        return self.attempt.owns()

    def stored(self, found: Epoch) -> None:
        record = Run(self.key.variant.spec, self.key.seed, "running", (*self.epochs, found))
        save_record(record, self.attempt.folder / RECORD)

    def epoch(self, found: Epoch) -> None:
        self.epochs = (*self.epochs, found)
        self.goes_on()
        self.progress.epoch(found)

    def notice(self, text: str) -> None:
        self.progress.notice(f"{self.key.variant} seed {self.key.seed}: {text}")
