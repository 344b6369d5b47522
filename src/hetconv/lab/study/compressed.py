"""Runs whose network is compressed after training, kept in a study's folder like any other run.

The first stage is the run of the base variant from the same seed. It is done first, and its checkpoint is
read, so that it is trained once for all methods; where the study has no such run, or its checkpoint is not there,
this run trains a base of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hetconv.lab.compress import CompressedModel, Method, Training, compress, parse_method, preparation, retraining
from hetconv.lab.results import Epoch, Stage
from hetconv.lab.settings import Recipe, StageSettings
from hetconv.lab.study.network_study import NetworkStudy
from hetconv.lab.train import Data, Progress
from hetconv.lab.variant import Variant


@dataclass(frozen=True)
class CompressedRun:
    """What one such run needs to know.

    Attributes:
        variant: with a method.
        recipe: of the first stage; `stages` says what differs in the others.
        folder: for the stages' checkpoints; `identity` is what those of the later stages are of.
        base_checkpoint, base_identity: of the first stage, which is the base variant's run from the same seed.
    """

    variant: Variant
    seed: int
    recipe: Recipe
    stages: StageSettings
    folder: Path
    identity: dict[str, Any]
    base_checkpoint: Path
    base_identity: dict[str, Any]

    @property
    def method(self) -> Method:
        assert self.variant.method is not None
        return parse_method(self.variant.method)

    def compress(self, base: nn.Module, data: Data, progress: Progress) -> CompressedModel:
        """Go the course from an untrained network of the base variant; stages that are finished are only read."""
        method = self.method
        training = Training(
            self.recipe, retraining(method, self.recipe, self.stages), preparation(method, self.recipe, self.stages),
            self.seed, self.folder, self.identity, self.base_checkpoint, self.base_identity,
        )  # fmt: skip
        found = compress(base, method, training, data, progress)
        return replace(found, record=replace(found.record, method=self.variant.method or ""))


def compressed_run(study: NetworkStudy, variant: Variant, seed: int, folder: Path) -> CompressedRun:
    """The run of a variant that has a method, whose checkpoints are in `folder`.

    Where the study has trained the base variant from this seed, the folder gets a link to its checkpoint.
    """
    run, own = study.store.run(variant.base.spec, seed), folder / "base.safetensors"
    run.settle()
    if run.has_ended() and run.checkpoint.exists() and not own.exists():
        os.link(run.checkpoint, own)
    return CompressedRun(
        variant, seed, study.comparison.recipe, study.comparison.stages, folder,
        study.identity(variant, seed), own, study.identity(variant.base, seed),
    )  # fmt: skip


def joined_epochs(stages: tuple[Stage, ...]) -> tuple[Epoch, ...]:
    """The epochs of all stages, numbered through."""
    every = [epoch for stage in stages for epoch in stage.epochs]
    return tuple(replace(epoch, epoch=number) for number, epoch in enumerate(every, start=1))
