"""How a network is trained: the settings, and the learning rate they give at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hetconv.errors import UsageError

SCHEDULES = ("cosine", "one-cycle", "step", "constant")
PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum and a schedule.

    Attributes:
        learning_rate: at its highest, after `warmup_epochs` of linear rise.
        schedule: cosine or one-cycle (to zero at the last step, along a cosine or a line), step (times `step_factor` at
            each of `step_epochs`) or constant.
        weight_decay: on weights of convolution and linear layers; not on biases and batch norm.
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

    def __post_init__(self) -> None:
        for name, lowest in (
            ("epochs", 1),
            ("batch_size", 1),
            ("learning_rate", 0),
            ("weight_decay", 0),
            ("warmup_epochs", 0),
        ):
            if not lowest <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}={getattr(self, name)} must be at least {lowest}")
        if not 0 < self.step_factor < 1:
            raise UsageError(f"step_factor={self.step_factor} must be between 0 and 1")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        for name, known in (("schedule", SCHEDULES), ("mixed_precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name}={getattr(self, name)!r} must be one of {', '.join(known)}")
        if self.schedule == "step" and not self.step_epochs:
            raise UsageError("schedule='step' needs step_epochs, the epochs at which the learning rate falls")

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs, fractions included."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * max(epoch, 1e-3) / self.warmup_epochs
        share = min((epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9), 1.0)
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * share)) / 2
        if self.schedule == "one-cycle":
            return self.learning_rate * (1 - share)
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** sum(epoch >= fall for fall in self.step_epochs)
        return self.learning_rate
