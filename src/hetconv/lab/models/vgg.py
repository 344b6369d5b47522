"""VGG-16 for 32×32 images, as the HetConv paper trains it."""

from __future__ import annotations

from torch import Tensor, nn

from hetconv.lab.models.variant_layers import Layers

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Cifar(nn.Module):
    """Thirteen 3×3 convolutions with batch norm in five stages, then two linear layers (paper, section 4.2).

    Shape:
        input (B, 3, H, W), H and W at least 32; output (B, num_classes).
    """

    def __init__(self, layers: Layers, num_classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = 3
        for stage in WIDTHS:
            for full_width in stage:
                out_channels = int(full_width * width)
                stages.append(_conv_block(layers, channels, out_channels, is_stem=channels == 3))
                channels = out_channels
            stages.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(channels, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))  # type: ignore[no-any-return]


def _conv_block(layers: Layers, in_channels: int, out_channels: int, is_stem: bool) -> nn.Sequential:
    if is_stem:
        conv: nn.Module = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        gate: nn.Module = nn.Identity()
    else:
        conv, gate = layers.conv(in_channels, out_channels, bias=True), layers.gate(out_channels)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True), gate)
