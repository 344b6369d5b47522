"""What one way of compressing a network has to say for itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from torch import Tensor, nn

from hetconv.lab.results import LayerChange
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data, Objective

FINE_TUNING_RATE = 0.01
"""Learning rate of retraining over that of training: Li et al.'s 1e-3 after 0.1."""
FINE_TUNING_EPOCHS = 0.25
"""Epochs of retraining over those of training: Li et al.'s 40 after 160."""


@dataclass(frozen=True)
class Method:
    """The settings of a method, and what it does at each station of the course (`hetconv.lab.compress.compress`).

    This one does nothing; methods override what they need. None of its functions changes its settings.
    """

    @property
    def rounds(self) -> int:
        """How often the course goes through preparing, pruning and retraining."""
        return 1

    def check(self, model: nn.Module, example: Tensor) -> None:
        """Raise UsageError, before anything is trained, if the method cannot handle the network."""

    def prepare(self, model: nn.Module, example: Tensor) -> nn.Module:
        """The network that the method's own training is done with."""
        return model

    def preparation(self, recipe: Recipe) -> Recipe | None:
        """How that training is done; None if there is none."""
        return None

    def objective(self, model: nn.Module, example: Tensor, images: int) -> Objective:
        """What that training asks of the prepared network; `images` is the number of training images."""
        return Objective()

    def prune(self, model: nn.Module, example: Tensor, round_number: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        """The pruned network, and what became of each layer."""
        return model, ()

    def retraining(self, recipe: Recipe) -> Recipe | None:
        """How the pruned network is trained again; None if it is not."""
        return fine_tuning(recipe)

    def retraining_objective(self, model: nn.Module) -> Objective:
        """What that training asks of the pruned network."""
        return Objective()

    def finish(self, model: nn.Module, data: Data) -> nn.Module:
        """The network as it is to be run."""
        return model


def fine_tuning(recipe: Recipe) -> Recipe:
    """A quarter of the training's epochs at a constant hundredth of its learning rate (Li et al., ICLR 2017)."""
    return replace(
        recipe, epochs=ceil(FINE_TUNING_EPOCHS * recipe.epochs), learning_rate=FINE_TUNING_RATE * recipe.learning_rate,
        schedule="constant", step_epochs=(), warmup_epochs=0.0,
    )  # fmt: skip
