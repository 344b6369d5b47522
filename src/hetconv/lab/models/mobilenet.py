"""MobileNet v1 (Howard et al. 2017, table 1). Its own form is dwc-pwc; a HetConv layer replaces each pair."""

from __future__ import annotations

from torch import Tensor, nn

from hetconv.lab.models.variant_layers import Layers

BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
"""(output channels, stride) of each block."""


class MobileNetV1(nn.Module):
    """A strided 3×3 stem, thirteen blocks, global average pooling and one linear layer.

    Shape:
        input (B, 3, H, W); output (B, num_classes).
    """

    def __init__(self, layers: Layers, num_classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        channels = int(32 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        for full_width, stride in BLOCKS:
            out_channels = int(full_width * width)
            blocks.append(_block(layers, channels, out_channels, stride))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.blocks(self.stem(x))).flatten(1))  # type: ignore[no-any-return]


def _block(layers: Layers, in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        layers.conv(in_channels, out_channels, stride=stride),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        layers.gate(out_channels),
    )
