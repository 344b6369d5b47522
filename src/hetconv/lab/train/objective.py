"""What a training asks of a network beside right answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hetconv.lab.settings import Recipe


class Objective:
    """The places where a method may change the training loop; this one changes nothing.

    Attributes:
        from_scratch: whether the network's own `before_training` and `before_epoch` are called, which are for the
            training of a new network.
    """

    from_scratch = True

    def optimizer(self, model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        """SGD whose weight decay is for weights only: parameters of one dimension (biases, norms) are left alone, but
        for the biases of batch norm where the recipe has a rate of its own for them.

        The loop sets each group's learning rate to the recipe's, times the group's `lr_scale` where it has one.
        """
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        scale = recipe.norm_bias_scale
        shifts = set() if scale == 1 else _norm_biases(model)
        groups = [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1 and p not in shifts], "weight_decay": 0.0},
        ]
        if shifts:
            groups.append({
                "params": [p for p in trained if p in shifts],
                "weight_decay": recipe.weight_decay / scale if scale else 0.0, "lr_scale": scale,
            })  # fmt: skip
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)

    def begin(self, model: nn.Module) -> None:
        """An epoch begins."""
        model.train()

    def loss(self, images: Tensor, logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        """The loss of one step, the mean cross-entropy; within autocast where the recipe asks for that.

        Args:
            logits: (B, classes), float32
        """
        return cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """What is added to the loss of one step."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """The optimizer has changed the weights."""


class FromWeights(Objective):
    """Of a network that begins from trained weights, whose own preparations would spoil them."""

    from_scratch = False


def _norm_biases(model: nn.Module) -> set[Tensor]:
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return {norm.bias for norm in norms if norm.bias is not None and norm.bias.requires_grad}
