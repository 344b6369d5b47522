import torch
from torch import nn

from hetconv import HetConv2d


def randomized(model):
    """Statistics and scales as training leaves them, so that a batch norm that is left out shows."""
    for module in model.eval().modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return model


def small(p=4, **options):
    return randomized(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            HetConv2d(8, 16, 3, padding=1, p=p, bias=False, **options), nn.BatchNorm2d(16), nn.ReLU(),
            HetConv2d(16, 8, 3, 2, padding=1, p=p, **options), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        )
    )  # fmt: skip


def image(batch=2, size=8):
    return torch.randn(batch, 3, size, size)
