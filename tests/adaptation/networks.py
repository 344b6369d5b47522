"""Small networks that least squares is tried on."""

import torch
from torch import nn
from torch.nn import functional


class Branches(nn.Module):
    """Branches that are registered in another order than they are computed in, one layer called twice, batch norms."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(16, 16, 3, padding=1)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.right = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.right_norm = nn.BatchNorm2d(16)
        self.left = nn.Conv2d(8, 16, 5, stride=2, padding=2, padding_mode="reflect")
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.relu(self.right_norm(self.right(x))) + functional.relu(self.left(x))
        x = functional.relu(self.last(x))
        x = x + functional.relu_(self.last(x))
        return self.head(x.mean((2, 3)))


def branches():
    network = Branches()
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(smooth_images(32))
    return network.eval()


def smooth_images(count, size=16):
    """Neighbouring pixels are alike, as in photographs: without that there is little for least squares to find."""
    return functional.interpolate(torch.randn(count, 3, size // 4, size // 4), size=size, mode="bilinear")
