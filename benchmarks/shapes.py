"""The layers that are measured: the 3×3 convolutions of VGG-16 and ResNet, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShape:
    """One 3×3 convolution with padding 1; `size` is the height and width of its input."""

    network: str
    in_channels: int
    out_channels: int
    size: int
    stride: int = 1

    def __str__(self) -> str:
        step = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.network} {self.in_channels}→{self.out_channels} {self.size}×{self.size}{step}"


def _vgg16(network: str, size: int) -> list[LayerShape]:
    layers = [(64, 64, 1), (64, 128, 2), (128, 128, 2), (128, 256, 4), (256, 256, 4), (256, 512, 8), (512, 512, 8)]
    shapes = [LayerShape(network, m, n, size // shrink) for m, n, shrink in layers]
    return [*shapes, LayerShape(network, 512, 512, size // 16)]


RESNET = [
    LayerShape("resnet", 64, 64, 56),
    LayerShape("resnet", 64, 128, 56, 2),
    LayerShape("resnet", 128, 128, 28),
    LayerShape("resnet", 128, 256, 28, 2),
    LayerShape("resnet", 256, 256, 14),
    LayerShape("resnet", 256, 512, 14, 2),
    LayerShape("resnet", 512, 512, 7),
]

SETS = {"vgg32": _vgg16("vgg16-32", 32), "vgg224": _vgg16("vgg16-224", 224), "resnet": RESNET}
PARTS = (1, 2, 4, 8, 16, 32, 64)


def theory(p: int) -> float:
    """Multiply-adds of the dense 3×3 layer over those of HetConv."""
    return 9 / (1 + 8 / p)
