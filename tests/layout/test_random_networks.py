"""Networks drawn at random: whole numbers in, the same numbers out, whatever the layers and however they are joined."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hetconv import HetConv2d, relayout

from .networks import image, layers, whole

WIDTHS = (8, 16, 24)
STEP = st.tuples(
    st.sampled_from(["het", "het", "het", "conv", "depthwise", "norm", "add", "cat", "gate", "flip", "slice"]),
    st.integers(0, 30), st.integers(0, 30), st.sampled_from(WIDTHS), st.sampled_from([1, 2, 3, 4, 6, 8]),
    st.sampled_from(["shifted", "shifted", "shifted", "blocked"]),
)  # fmt: skip


class Drawn(nn.Module):
    """Steps read earlier tensors by number; every tensor is read in the end."""

    def __init__(self, steps):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.steps, widths = [], [8]
        self.parts = nn.ModuleList()
        for kind, one, other, width, p, arrangement in steps:
            a = one % len(widths)
            same = [i for i, w in enumerate(widths) if w == widths[a]]
            b = same[other % len(same)] if kind in ("add", "gate") else other % len(widths)
            module, width = self._module(kind, widths[a], widths[b], width, p, arrangement)
            self.parts.append(module)
            self.steps.append((kind, a, b))
            widths.append(width)
        self.last = nn.Conv2d(sum(widths), 3, 1)

    def _module(self, kind, a, b, width, p, arrangement):
        if kind == "het":
            return nn.Sequential(
                HetConv2d(a, width, 3, padding=1, p=p, arrangement=arrangement), nn.Hardtanh(-9, 9)
            ), width
        if kind == "conv":
            return nn.Sequential(nn.Conv2d(a, width, 1), nn.Hardtanh(-9, 9)), width
        if kind == "depthwise":
            return nn.Sequential(nn.Conv2d(a, a, 3, padding=1, groups=a), nn.Hardtanh(-9, 9)), a
        if kind == "norm":
            return nn.Sequential(nn.BatchNorm2d(a), nn.ReLU()), a
        if kind == "gate":
            return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Conv2d(a, a, 1), nn.Hardtanh(0, 1)), a
        return nn.Identity(), {"cat": a + b, "slice": a // 2}.get(kind, a)

    def forward(self, x):
        tensors = [self.stem(x)]
        for (kind, a, b), module in zip(self.steps, self.parts, strict=True):
            one, other = tensors[a], tensors[b]
            if kind == "add":
                y = one + other
            elif kind == "cat":
                y = torch.cat([one, other], 1)
            elif kind == "gate":
                y = module(one) * other
            elif kind == "flip":
                y = torch.flip(one, (1,))
            elif kind == "slice":
                y = one[:, : one.shape[1] // 2]
            else:
                y = module(one)
            tensors.append(y)
        return self.last(torch.cat(tensors, 1))


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(STEP, min_size=2, max_size=9), st.sampled_from(["blocked", "shifted"]))
def test_any_network(steps, to):
    try:
        model = whole(Drawn(steps).double())
    except ValueError:
        return  # P does not divide a width
    x = image(size=5)
    with torch.no_grad():
        moved = relayout(model, to, gather=True)
        assert torch.equal(moved(x), model(x))
    assert all(layer.arrangement == to for layer in layers(moved).values())
