"""How a network is trained: the settings, and the learning rate they give at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from hetconv.errors import UsageError
from hetconv.lab.settings.setting import Setting, check
from hetconv.records import Record

LOOKAHEAD_HIGHEST = 0.95**5

BatchSize = Annotated[int, Setting("Images in a training batch, over all processes together.", at_least=1)]
LearningRate = Annotated[float, Setting("Highest learning rate, reached after the warm-up.", at_least=0, option="--lr")]
MixedPrecision = Annotated[Literal["no", "bf16", "fp16"], Setting("Number format in which training computes.")]


@dataclass(frozen=True)
class Recipe(Record):
    """SGD with Nesterov momentum and a schedule.

    Attributes:
        schedule: cosine or one-cycle (to `last_share` at the last step, along a cosine or a line), step (times
            `step_factor` at each of `step_epochs`) or constant.
        weight_decay: on weights of convolution and linear layers; not on biases and batch norm.
        norm_bias_scale: where it is not 1, biases of batch norm decay by the same share a step as the weights.
        lookahead_steps: after every so many steps, and at the end of an epoch, the weights and statistics are moved
            back towards those of the time before, by a share that grows from 0 to 0.77 with the cube of the training
            done (Zhang et al., NeurIPS 2019, as airbench does it).
        augmentation: default (the data set's own) or airbench (images in memory only: shifted by up to 2 pixels with
            reflected borders; each image mirrored in every other epoch).
        test_views: the views are the image itself and two shifted by a pixel, each of them mirrored too.
        source: who trained so: a paper, a repository, or this project.

    Raises:
        UsageError: a setting is out of its range.
    """

    epochs: Annotated[int, Setting("Number of training epochs.", at_least=1)] = 10
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 0.1
    momentum: Annotated[float, Setting("Nesterov momentum.", at_least=0, below=1)] = 0.9
    weight_decay: Annotated[float, Setting("Weight decay; biases and batch norm have none.", at_least=0)] = 5e-4
    schedule: Annotated[
        Literal["cosine", "one-cycle", "step", "constant"], Setting("How the learning rate changes.")
    ] = "cosine"
    step_epochs: Annotated[
        tuple[int, ...], Setting("With --schedule step: the epochs at which the rate falls, such as 50,100.")
    ] = ()
    step_factor: Annotated[float, Setting("With --schedule step: the factor by which it falls.", above=0, below=1)] = (
        0.1
    )
    warmup_epochs: Annotated[float, Setting("Epochs in which the learning rate rises.", at_least=0)] = 1.0
    label_smoothing: Annotated[float, Setting("Label smoothing.", at_least=0, below=1)] = 0.0
    mixed_precision: MixedPrecision = "no"
    first_share: Annotated[
        float, Setting("Learning rate before the first step, as a share of the highest.", at_least=0, at_most=1)
    ] = 0.0
    last_share: Annotated[
        float, Setting("Learning rate after the last step, as a share of the highest.", at_least=0, at_most=1)
    ] = 0.0
    norm_bias_scale: Annotated[float, Setting("Factor on the learning rate of batch norm's biases.", at_least=0)] = 1.0
    lookahead_steps: Annotated[
        int, Setting("Weights are moved back after every so many steps; 0 for never.", at_least=0)
    ] = 0
    augmentation: Annotated[Literal["default", "airbench"], Setting("How training images are varied.")] = "default"
    test_views: Annotated[bool, Setting("Also evaluate the trained network on six views of each image.")] = False
    source: str = ""

    def __post_init__(self) -> None:
        check(self)
        if self.schedule == "step" and not self.step_epochs:
            raise UsageError("schedule='step' needs step_epochs, the epochs at which the learning rate falls")

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs, fractions included."""
        if epoch < self.warmup_epochs:
            risen = max(epoch, 1e-3) / self.warmup_epochs
            return self.learning_rate * (self.first_share + (1 - self.first_share) * risen)
        share = min((epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9), 1.0)
        if self.schedule == "cosine":
            left = (1 + math.cos(math.pi * share)) / 2
            return self.learning_rate * (self.last_share + (1 - self.last_share) * left)
        if self.schedule == "one-cycle":
            return self.learning_rate * (1 - (1 - self.last_share) * share)
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** sum(epoch >= fall for fall in self.step_epochs)
        return self.learning_rate

    def lookahead_share_at(self, epoch: float) -> float:
        """How far the weights are moved back after `epoch` epochs: 0 not at all, 1 altogether."""
        return LOOKAHEAD_HIGHEST * (epoch / self.epochs) ** 3
