"""A VGG-like network of six 3×3 convolutions that reaches 94 % on CIFAR-10 in ten epochs.

After K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, sections 3.1 to 3.5 (airbench94).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.lab.models.variant_layers import Layers
from hetconv.nn import HetConv2d

WIDTHS = (64, 256, 256)
WHITENED = 24
WHITENING_IMAGES = 5000
WHITENING_FLOOR = 5e-4
"""Added to the variance of each direction, so that none is blown up without bound."""
WHITENING_BIAS_EPOCHS = 3
LOGIT_SCALE = 1 / 9


class AirbenchCifar(nn.Module):
    """A frozen 2×2 layer that whitens patches, three stages of two 3×3 convolutions, and one linear layer.

    The last layer of each stage and the stage before it stand at half the resolution: the pool follows the first
    convolution. Batch norm has no trained scale.

    Shape:
        input (B, 3, 32, 32); output (B, num_classes).
    """

    def __init__(self, layers: Layers, num_classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, WHITENED, 2)
        self.whiten.weight.requires_grad_(False)
        stages: list[nn.Module] = []
        channels = WHITENED
        for full_width in WIDTHS:
            out_channels = int(full_width * width)
            stages += [
                _identity_at_first(layers.conv(channels, out_channels)),
                nn.MaxPool2d(2),
                *_norm_and_activation(layers, out_channels),
                _identity_at_first(layers.conv(out_channels, out_channels)),
                *_norm_and_activation(layers, out_channels),
            ]
            channels = out_channels
        self.features = nn.Sequential(nn.GELU(), *stages)
        self.pool = nn.MaxPool2d(3)
        self.classifier = nn.Linear(channels, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = self.pool(self.features(self.whiten(x))).flatten(1)
        return self.classifier(features) * LOGIT_SCALE  # type: ignore[no-any-return]

    @torch.no_grad()
    def before_training(self, images: Tensor) -> None:
        """Set the whitening layer from normalized training images (n, 3, H, W): the eigenvectors of their 2×2 patches'
        covariance, each divided by its standard deviation, and the same negated."""
        patches = functional.unfold(images[:WHITENING_IMAGES].float(), 2).transpose(1, 2).reshape(-1, 12)
        variances, directions = torch.linalg.eigh(torch.cov(patches.T.double()))
        filters = (directions / (variances + WHITENING_FLOOR).sqrt()).T.flip(0).reshape(12, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))

    def before_epoch(self, epoch: int) -> None:
        """The whitening layer's bias is trained in the first epochs only."""
        assert self.whiten.bias is not None
        self.whiten.bias.requires_grad_(epoch < WHITENING_BIAS_EPOCHS)


def _norm_and_activation(layers: Layers, channels: int) -> list[nn.Module]:
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return [norm, nn.GELU(), layers.gate(channels)]


@torch.no_grad()
def _identity_at_first(layer: nn.Module) -> nn.Module:
    """Let the first M filters of an M → N layer pass their channel on; the others keep their random start."""
    if isinstance(layer, HetConv2d):
        dense = layer.to_dense()
        nn.init.dirac_(dense.weight[: dense.in_channels])
        same = HetConv2d.from_dense(dense, layer.p, layer.arrangement)
        layer.load_state_dict(same.state_dict())
    elif isinstance(layer, nn.Conv2d):
        nn.init.dirac_(layer.weight[: layer.in_channels])
    return layer
