"""Training a network to answer as another one does."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from hetconv.errors import UsageError
from hetconv.lab.settings import Recipe
from hetconv.lab.train.objective import Objective


class Distillation(Objective):
    """(1 − share) · cross-entropy + share · T² · KL(teacher's softmax(z/T) ‖ network's softmax(z/T)).

    After Hinton et al., arXiv:1503.02531. The teacher sees the same augmented images. It is a copy, in evaluation mode;
    nothing of it is in the network's checkpoint, so that the run's identity should name it.

    Args:
        teacher: a trained classifier of the same classes.
        temperature: T, by which the logits are divided.
        share: of the teacher's answers in the loss; with 1 the labels are not looked at.
    """

    from_scratch = False

    def __init__(self, teacher: nn.Module, temperature: float = 2.0, share: float = 0.9) -> None:
        if not 0 < temperature < math.inf:
            raise UsageError(f"temperature={temperature} must be above 0")
        if not 0 <= share <= 1:
            raise UsageError(f"share={share} must be between 0 and 1")
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.temperature, self.share = temperature, share

    def loss(self, images: Tensor, logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        answers = super().loss(images, logits, labels, recipe)
        if self.share == 0:
            return answers
        with torch.no_grad():
            taught = self.teacher.to(images.device)(images).float()
        if taught.shape != logits.shape:
            raise UsageError(
                f"the teacher gives outputs of shape {tuple(taught.shape)} and the network of {tuple(logits.shape)}; "
                f"take a teacher of the same classes"
            )
        wanted, given = (log_softmax(z / self.temperature, 1) for z in (taught, logits))
        likeness = kl_div(given, wanted, reduction="batchmean", log_target=True) * self.temperature**2
        return likeness if self.share == 1 else torch.lerp(answers, likeness, self.share)
