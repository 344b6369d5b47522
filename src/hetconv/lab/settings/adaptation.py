"""What `hetconv adapt` is asked for: how fast a trained network is to be, and how it is tuned for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from hetconv.lab.settings.comparison import Seed, TimedBatch
from hetconv.lab.settings.recipe import MixedPrecision, Recipe
from hetconv.lab.settings.setting import Setting, check
from hetconv.pattern import USUAL_PARTS

TUNING = Recipe(epochs=10, batch_size=128, learning_rate=0.02, schedule="cosine", warmup_epochs=0.5)
"""How a refitted network is tuned whose own training is not known: a rate that does not forget where it begins."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a network is distilled; None is as it was trained, at half the rate."""

    epochs: Annotated[int, Setting("Epochs of distillation; 0 leaves it out.", at_least=0)] = TUNING.epochs
    lr: Annotated[
        float | None,
        Setting("Highest learning rate of the distillation; by default half of the network's own.", at_least=0),
    ] = None
    train_batch_size: Annotated[
        int | None, Setting("Images in a batch of the distillation; by default the network's own.", at_least=1)
    ] = None
    mixed_precision: MixedPrecision | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How fast a network is to be, and what is looked at on the way there.

    Attributes:
        speedup, budget_ms: one of the two, as for `hetconv.plan`.
        images: that plan and least squares look at, of the training split, without labels.
        parts: values of P that layers may get.
        precision: of both networks that are timed, and of the deployed file.
        batch_size: of the example that times are measured with.
        seed: of the distillation.
    """

    speedup: Annotated[
        float | None, Setting("How many times as fast the network shall be, deployed on this machine.")
    ] = None
    budget_ms: Annotated[float | None, Setting("In place of --speedup: the milliseconds that it may take.")] = None
    images: Annotated[int, Setting("Training images for least squares.", at_least=2)] = 2000
    parts: Annotated[tuple[int, ...], Setting("Values of P to choose from.", option="--p")] = USUAL_PARTS
    precision: Annotated[
        Literal["float32", "int8"], Setting("Number format of both networks that are timed, and of the deployed file.")
    ] = "float32"
    batch_size: TimedBatch = 1
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Adaptation(Budget):
    """What is asked of a network.

    Attributes:
        name: of the network, for the record.
        recipe: of the distillation; None for those who cannot train.
        plan_images: the first of the images, that the plan's losses are of.
    """

    name: str
    recipe: Recipe | None = TUNING
    plan_images: int = 500
    temperature: float = 2.0
    teacher_share: float = 0.9
