"""Networks of whole numbers that write in place, take views, and add under second names, drawn step by step."""

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hetconv import HetConv2d

STEPS = (
    "het", "conv", "view", "half", "chunk", "add_", "iadd", "isub", "second name", "relu_", "relu module", "functional",
    "sum", "clone", "transposed", "muls",
)  # fmt: skip
STEP = st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(0, 30))
DRAWN = st.lists(STEP, min_size=2, max_size=8)


class Drawn(nn.Module):
    """Steps read, write and rename earlier tensors of one shape; all of them are read in the end.

    Attributes:
        decides: whether control flow keeps it from being captured whole; then blocks inside may be.
    """

    def __init__(self, steps, decides=False):
        super().__init__()
        self.steps, self.decides = steps, decides
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.parts = nn.ModuleList(self._part(kind) for kind, *_ in steps)
        self.last = nn.Conv2d(8, 8, 1)

    def _part(self, kind):
        het = HetConv2d(8, 8, 3, padding=1, p=2)
        if kind == "het":
            return nn.Sequential(nn.ReLU(inplace=True), het) if self.decides else het
        return nn.Conv2d(8, 8, 1) if kind == "conv" else nn.Identity()

    def forward(self, x):
        tensors = [self.stem(x)]
        if self.decides and x.sum() > 1e9:
            return x
        for at, (kind, one, other) in enumerate(self.steps):
            a, b = tensors[one % len(tensors)], tensors[other % len(tensors)]
            y = self._step(at, kind, a, b)
            tensors.append(F.hardtanh(y, -4, 4) if kind in ("het", "conv", "sum") else y)
        total = tensors[0]
        for tensor in tensors[1:]:
            total = total + tensor
        return self.last(F.hardtanh(total, -9, 9))

    def _step(self, at, kind, a, b):
        if kind in ("het", "conv"):
            return self.parts[at](a)
        if kind == "view":
            return a.view(a.shape[0], 8, -1).view(a.shape)
        if kind == "half":
            return torch.cat([a[:, :4], a[:, 4:]], 1)
        if kind == "chunk":
            parts = list(a.chunk(2, 1))
            parts[0] += 1
            return torch.cat(parts, 1)
        if kind == "add_":
            return a.add_(b.clone())
        if kind == "iadd":
            a += 1
            return a
        if kind == "isub":
            a -= b.clone()
            return b
        if kind == "second name":
            renamed = a
            renamed += 2
            return a * 1
        if kind == "relu_":
            torch.relu_(a)
            return b
        if kind == "relu module":
            return self.relu(a)
        if kind == "functional":
            F.leaky_relu(a, 0.5, inplace=True)
            return a
        if kind == "clone":
            return a.clone()
        if kind == "transposed":
            return a.transpose(2, 3).contiguous().transpose(2, 3)
        if kind == "muls":
            a.mul_(2).clamp_(-4, 4)
            return a
        return a + b


def whole(model):
    """The model in evaluation mode with whole numbers as weights."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape))
    return model.eval()


def image(batch=1):
    return torch.randint(-2, 3, (batch, 3, 5, 6)).float()
