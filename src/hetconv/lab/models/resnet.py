"""The CIFAR ResNets of He et al. (CVPR 2016, section 4.2): 6n + 2 layers in three stages."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from hetconv.lab.models.variant_layers import Layers

WIDTHS = (16, 32, 64)


class ResNetCifar(nn.Module):
    """A 3×3 stem, three stages of n basic blocks, global average pooling and one linear layer.

    Shape:
        input (B, 3, H, W); output (B, num_classes).
    """

    def __init__(self, layers: Layers, num_classes: int = 10, width: float = 1.0, blocks: int = 9) -> None:
        super().__init__()
        channels = int(WIDTHS[0] * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        stages: list[nn.Module] = []
        for index, full_width in enumerate(WIDTHS):
            out_channels = int(full_width * width)
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                stages.append(BasicBlock(layers, channels, out_channels, stride))
                channels = out_channels
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.stages(self.stem(x))).flatten(1))  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut without weights (option A: subsampled, padded with zero channels)."""

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = layers.conv(in_channels, out_channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = layers.conv(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.gate = layers.gate(out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.gate(self.bn2(self.conv2(y)))
        return functional.relu(y + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
