"""CRAFT, a detector of text: a VGG-16 with batch norm and a U-Net, after Baek et al., CVPR 2019 (arXiv:1904.01941).

The modules have the names of the published state dicts, so that those load strictly.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

WRAPPED = "module."
"""What the published names begin with: the network was trained inside a wrapper."""


class Stage(nn.Sequential):
    """Convolutions with batch norm and ReLU, and max pooling ("M") between, numbered as in a VGG-16.

    `activated` says whether the last convolution has a ReLU, too.
    """

    def __init__(self, start: int, in_channels: int, plan: tuple[int | str, ...], activated: bool = True) -> None:
        super().__init__()
        channels, layers = in_channels, list[nn.Module]()
        for entry in plan:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.BatchNorm2d(entry), nn.ReLU()]
                channels = entry
        for number, layer in enumerate(layers if activated else layers[:-1], start):
            self.add_module(str(number), layer)


class Backbone(nn.Module):
    """The features at 1/2, 1/4, 1/8 and 1/16 of the image's size, and those of the last, dilated, convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.slice1 = Stage(0, 3, (64, 64, "M", 128, 128))
        self.slice2 = Stage(13, 128, ("M", 256, 256))
        self.slice3 = Stage(20, 256, (256, "M", 512, 512))
        self.slice4 = Stage(30, 512, (512, "M", 512, 512), activated=False)
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.Conv2d(1024, 1024, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        half = self.slice1(x)
        quarter = self.slice2(half)
        eighth = self.slice3(quarter)
        sixteenth = self.slice4(eighth)
        return half, quarter, eighth, sixteenth, self.slice5(sixteenth)


class Merge(nn.Module):
    """Two convolutions, 1×1 and 3×3, of concatenated features."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.conv(torch.cat([x, y], 1))  # type: ignore[no-any-return]


class Craft(nn.Module):
    """Score maps of an image: where characters are, and where the room between two of one word is.

    Shapes: (B, 3, H, W) to (B, 2, H // 2, W // 2); H and W of 16 at least.
    """

    def __init__(self) -> None:
        super().__init__()
        self.basenet = Backbone()
        self.upconv1 = Merge(1024 + 512, 512, 256)
        self.upconv2 = Merge(256 + 512, 256, 128)
        self.upconv3 = Merge(128 + 256, 128, 64)
        self.upconv4 = Merge(64 + 128, 64, 32)
        self.conv_cls = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        half, quarter, eighth, sixteenth, last = self.basenet(x)
        y = self.upconv1(last, sixteenth)
        y = self.upconv2(_as_large_as(eighth, y), eighth)
        y = self.upconv3(_as_large_as(quarter, y), quarter)
        y = self.upconv4(_as_large_as(half, y), half)
        return self.conv_cls(y)  # type: ignore[no-any-return]


def _as_large_as(other: Tensor, x: Tensor) -> Tensor:
    return interpolate(x, size=other.shape[2:], mode="bilinear", align_corners=False)


def load_craft(path: Path) -> Craft:
    """The network with the weights of a published state dict; every name and shape must be the network's own."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = Craft()
    network.load_state_dict({name.removeprefix(WRAPPED): value for name, value in state.items()}, strict=True)
    return network.eval()
