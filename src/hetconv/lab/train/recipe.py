"""How a network is trained: the settings, and the learning rate they give at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hetconv.errors import UsageError

SCHEDULES = ("cosine", "one-cycle", "step", "constant")
PRECISIONS = ("no", "bf16", "fp16")
AUGMENTATIONS = ("default", "airbench")
LOOKAHEAD_HIGHEST = 0.95**5


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum and a schedule.

    Attributes:
        learning_rate: at its highest, after `warmup_epochs` of linear rise.
        schedule: cosine or one-cycle (to `last_share` at the last step, along a cosine or a line), step (times
            `step_factor` at each of `step_epochs`) or constant.
        first_share, last_share: the rate before the first and after the last step, as shares of `learning_rate`.
        weight_decay: on weights of convolution and linear layers; not on biases and batch norm.
        norm_bias_scale: the biases of batch norm have `learning_rate` times this. Where it is not 1, they decay by the
            same share a step as the weights.
        lookahead_steps: after every so many steps, and at the end of an epoch, the weights and statistics are moved
            back towards those of the time before, by a share that grows from 0 to 0.77 with the cube of the training
            done (Zhang et al., NeurIPS 2019, as airbench does it); 0 for never.
        augmentation: default (the data set's own) or airbench (images in memory only: shifted by up to 2 pixels with
            reflected borders; each image mirrored in every other epoch).
        test_views: also evaluate the trained network on six views of each image: itself and two shifted by a pixel,
            each of them mirrored too.
        mixed_precision: no, bf16 or fp16.

    Raises:
        UsageError: a setting is out of its range.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    step_epochs: tuple[int, ...] = ()
    step_factor: float = 0.1
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    mixed_precision: str = "no"
    first_share: float = 0.0
    last_share: float = 0.0
    norm_bias_scale: float = 1.0
    lookahead_steps: int = 0
    augmentation: str = "default"
    test_views: bool = False

    def __post_init__(self) -> None:
        for name, lowest in (
            ("epochs", 1),
            ("batch_size", 1),
            ("learning_rate", 0),
            ("weight_decay", 0),
            ("warmup_epochs", 0),
            ("norm_bias_scale", 0),
            ("lookahead_steps", 0),
        ):
            if not lowest <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}={getattr(self, name)} must be at least {lowest}")
        if not 0 < self.step_factor < 1:
            raise UsageError(f"step_factor={self.step_factor} must be between 0 and 1")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        for name in ("first_share", "last_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}={getattr(self, name)} must be between 0 and 1")
        for name, known in (("schedule", SCHEDULES), ("mixed_precision", PRECISIONS), ("augmentation", AUGMENTATIONS)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name}={getattr(self, name)!r} must be one of {', '.join(known)}")
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
