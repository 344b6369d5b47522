"""The course that all methods share: train, prepare, prune, retrain, measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hetconv.cost import complexity
from hetconv.errors import UsageError
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.result import CompressedModel
from hetconv.lab.compress.runtime_network import RuntimeNetwork
from hetconv.lab.results import Compression, LayerChange, Stage
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data, Objective, Progress, train
from hetconv.lab.train.loop import EVALUATION_BATCH, evaluate


@dataclass(frozen=True)
class Training:
    """How the networks of the course are trained.

    Attributes:
        recipe: of the network to begin with. None: it is trained already, and its training is not counted.
        retraining: of the pruned network; by default what the method's paper does, in proportion to `recipe`.
        preparation: of the method's own training before pruning, where it has one; by default likewise.
        seed: of all stages.
        folder: where each stage keeps a checkpoint, from which a course that was stopped goes on.
        identity: what those checkpoints are of.
        base_checkpoint, base_identity: of the first stage, where it is shared with others that begin alike.
    """

    recipe: Recipe | None
    retraining: Recipe | None = None
    preparation: Recipe | None = None
    seed: int = 0
    folder: Path | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    base_checkpoint: Path | None = None
    base_identity: dict[str, Any] | None = None


def compress(
    model: nn.Module, settings: Method, training: Training, data: Data, progress: Progress | None = None
) -> CompressedModel:
    """Train a classifier, compress it by one method, train what is left, and say what all of it cost.

    A course with a folder goes on where it was stopped: finished stages are read from their checkpoints, and what lies
    between them is computed anew, which gives the same.

    Args:
        model: a chain or residual classifier for the data's images; it is trained in place by the first stage, and left
            alone by the others.
        settings: of the method: `L1`, `AutoBalanced`, `Bayesian`, `Connection`, `DepGraph`, `Int8`.

    Raises:
        UsageError: the method cannot handle the network; nothing has been trained then.
        NotFiniteError: a stage's loss became NaN or infinite.
    """
    course = _Course(training, data, progress or Progress())
    example = torch.randn(2, *data.input_size, generator=torch.Generator().manual_seed(0))
    settings.check(model, example)
    course.train("train", model, training.recipe, Objective())
    for number in range(settings.rounds):
        model = course.round(settings, model, example, number)
    return course.measured(settings, model.eval())


class _Course:
    """The stages that are behind."""

    def __init__(self, training: Training, data: Data, progress: Progress) -> None:
        self.training, self.data, self.progress = training, data, progress
        self.stages: list[Stage] = []
        self.changes: tuple[LayerChange, ...] = ()

    def round(self, settings: Method, model: nn.Module, example: Tensor, number: int) -> nn.Module:
        """Prepare, prune and retrain once, as far as the method does."""
        suffix = "" if settings.rounds == 1 else f"-{number + 1}"
        recipe = self._recipe("preparation", settings.preparation)
        if recipe is not None:
            model = settings.prepare(model, example)
            objective = settings.objective(model, example, self.data.train_images)
            self.train(f"prepare{suffix}", model, recipe, objective)
        begin = time.perf_counter()
        model, found = settings.prune(model, example, number)
        self.changes = _joined(self.changes, found)
        self._add_seconds(time.perf_counter() - begin)
        recipe = self._recipe("retraining", settings.retraining)
        if recipe is not None:
            self.train(f"retrain{suffix}", model, recipe, settings.retraining_objective(model))
        return model

    def measured(self, settings: Method, model: nn.Module) -> CompressedModel:
        """The finished network with its count and accuracy; one that a runtime has is counted as it was before."""
        begin = time.perf_counter()
        finished = settings.finish(model, self.data).eval()
        self._add_seconds(time.perf_counter() - begin)
        counted = model if isinstance(finished, RuntimeNetwork) else finished
        _, accuracy = evaluate(Accelerator(), finished, self.data.test_loader(EVALUATION_BATCH))
        record = Compression(
            repr(settings), tuple(self.stages), self.changes, accuracy, complexity(counted, self.data.input_size)
        )
        return CompressedModel(finished, record)

    def train(self, name: str, model: nn.Module, recipe: Recipe | None, objective: Objective) -> None:
        """Train a stage's network in place; without a recipe it is trained already."""
        if recipe is None:
            return
        given = self.training
        shared = name == "train" and given.base_checkpoint is not None
        checkpoint = (
            given.base_checkpoint if shared else None if given.folder is None else given.folder / f"{name}.safetensors"
        )
        identity = given.base_identity if shared else given.identity | {"stage": name}
        macs = complexity(model, self.data.input_size).macs
        epochs = train(
            model, self.data, recipe, given.seed, checkpoint=checkpoint, identity=identity, progress=self.progress,
            objective=objective,
        )  # fmt: skip
        self.stages.append(
            Stage(name, epochs, self.data.train_images, macs, sum(epoch.seconds for epoch in epochs))
        )  # fmt: skip

    def _recipe(self, name: str, own: Callable[[Recipe], Recipe | None]) -> Recipe | None:
        """The recipe of a stage: none if the method has no such stage, else the one that is given or the method's."""
        if own(self.training.recipe or Recipe()) is None:
            return None
        given: Recipe | None = getattr(self.training, name)
        if given is None and self.training.recipe is None:
            raise UsageError(f"{name}=None: without training.recipe, of which it would be derived, it must be given")
        return given if self.training.recipe is None or given is not None else own(self.training.recipe)

    def _add_seconds(self, seconds: float) -> None:
        """Time of what is not training, on the stage before it."""
        if self.stages:
            last = self.stages[-1]
            self.stages[-1] = replace(last, seconds=last.seconds + seconds)


def _joined(before: tuple[LayerChange, ...], found: tuple[LayerChange, ...]) -> tuple[LayerChange, ...]:
    """What became of each layer over all rounds."""
    first = {change.name: change.before for change in before}
    return tuple(replace(change, before=first.get(change.name, change.before)) for change in found)
