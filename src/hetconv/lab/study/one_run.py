"""One run: train one variant of one network from one seed, and compress it, going on from its checkpoints.

The first stage of a compression is the run of the base variant from the same seed. It is done first, and its checkpoint
is read, so that it is trained once for all methods; where the study has no such run, or its checkpoint is not there,
the run trains a base of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from hetconv.errors import NotFiniteError
from hetconv.lab.compress import CompressedModel, Training, compress, parse_method, preparation, retraining
from hetconv.lab.results import Epoch, Run, Stage
from hetconv.lab.settings import RunKey
from hetconv.lab.study.attempts import RECORD, Attempt
from hetconv.lab.study.network_study import NetworkStudy
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.train import Progress, train
from hetconv.lab.variant import Variant
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
            record = compress_run(study, variant, seed, attempt.folder, model, keeper).record
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


def compress_run(
    study: NetworkStudy, variant: Variant, seed: int, folder: Path, base: nn.Module, progress: Progress
) -> CompressedModel:
    """Go the course of a variant that has a method from its untrained base; stages that are finished are only read.

    Where the study has trained the base variant from this seed, the folder gets a link to its checkpoint.

    Args:
        folder: for the checkpoints of all stages.
    """
    assert variant.method is not None
    run, base_checkpoint = study.store.run(variant.base.spec, seed), folder / "base.safetensors"
    run.settle()
    if run.has_ended() and run.checkpoint.exists() and not base_checkpoint.exists():
        os.link(run.checkpoint, base_checkpoint)
    method, recipe, stages = parse_method(variant.method), study.comparison.recipe, study.comparison.stages
    training = Training(
        recipe, retraining(method, recipe, stages), preparation(method, recipe, stages), seed, folder,
        study.identity(variant, seed), base_checkpoint, study.identity(variant.base, seed),
    )  # fmt: skip
    found = compress(base, method, training, study.data, progress)
    return replace(found, record=replace(found.record, method=variant.method))


def joined_epochs(stages: tuple[Stage, ...]) -> tuple[Epoch, ...]:
    """The epochs of all stages, numbered through."""
    every = [epoch for stage in stages for epoch in stage.epochs]
    return tuple(replace(epoch, epoch=number) for number, epoch in enumerate(every, start=1))
