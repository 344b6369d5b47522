"""Group K×K + full 1×1 is the same function as one HetConv layer, at M/P more multiply-adds a filter."""

import pytest
import torch
from torch import nn

from hetconv import HetConv2d, fold_pointwise
from hetconv.errors import UsageError


def pair(groups=4, bias=(True, True), stride=1, **options):
    """The two convolutions with small integers for weights, which make every sum exact."""
    settings = {"kernel_size": 3, "padding": 1, "dtype": torch.float64, **options}
    grouped = nn.Conv2d(8, 12, groups=groups, stride=stride, bias=bias[0], **settings)
    pointwise = nn.Conv2d(8, 12, 1, stride, bias=bias[1], dtype=torch.float64)
    with torch.no_grad():
        for parameter in [*grouped.parameters(), *pointwise.parameters()]:
            parameter.copy_(torch.randint(-3, 4, parameter.shape))
    return grouped, pointwise


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "bias": (False, True)},
        {"kernel_size": (5, 1), "padding": (2, 0), "bias": (True, False)},
        {"dilation": 2, "padding": "same", "bias": (False, False)},
        {"padding_mode": "circular"},
    ],
    ids=str,
)
def test_computes_the_same(groups, options):
    grouped, pointwise = pair(groups, **options)
    folded = fold_pointwise(grouped, pointwise)
    x = torch.randint(-3, 4, (2, 8, 9, 7)).double()
    assert torch.equal(folded(x), grouped(x) + pointwise(x))
    assert (folded.p, folded.arrangement) == (groups, "blocked")
    saved = sum(conv.weight.numel() for conv in (grouped, pointwise)) - folded.pattern.weights
    assert saved == 12 * 8 // groups


def test_every_het_layer_is_such_a_pair():
    het = HetConv2d(8, 12, 3, padding=1, p=4, arrangement="blocked", dtype=torch.float64)
    grouped, pointwise = pair()
    with torch.no_grad():
        grouped.weight.copy_(het.weight_spatial)
        grouped.bias.copy_(het.bias)
        pointwise.weight.zero_()
        for n in range(12):
            pointwise.weight[n, list(het.pattern.pointwise_channels(n)), 0, 0] = het.weight_pointwise[n]
        pointwise.bias.zero_()
    folded = fold_pointwise(grouped, pointwise)
    assert all(map(torch.equal, folded.parameters(), het.parameters()))


def test_leaves_the_two_alone():
    grouped, pointwise = (conv.eval() for conv in pair())
    before = [parameter.detach().clone() for conv in (grouped, pointwise) for parameter in conv.parameters()]
    folded = fold_pointwise(grouped, pointwise)
    assert not folded.training
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    after = [parameter for conv in (grouped, pointwise) for parameter in conv.parameters()]
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize(
    ("grouped", "pointwise", "message"),
    [
        (
            nn.Conv2d(8, 8, 3, padding=1, groups=4),
            nn.Conv2d(4, 8, 1),
            "in_channels differs: 8 of the grouped convolution, 4 of the 1×1; they must be equal to add up",
        ),
        (
            nn.Conv2d(8, 8, 3, 2, padding=1, groups=4),
            nn.Conv2d(8, 8, 1),
            "stride differs: (2, 2) of the grouped convolution, (1, 1) of the 1×1; they must be equal to add up",
        ),
        (
            nn.Conv2d(8, 8, 3, padding=1, groups=4),
            nn.Conv2d(8, 8, 3),
            "the second convolution must be a full 1×1 without padding, not Conv2d(8, 8, kernel_size=(3, 3), "
            "stride=(1, 1))",
        ),
        (
            nn.Conv2d(8, 8, 3, padding=1, groups=4),
            nn.Conv2d(8, 8, 1, groups=2),
            "the second convolution must be a full 1×1 without padding, not Conv2d(8, 8, kernel_size=(1, 1), "
            "stride=(1, 1), groups=2)",
        ),
        (
            nn.Conv2d(8, 8, 3, padding=2, groups=4, padding_mode="reflect"),
            nn.Conv2d(8, 8, 1, padding=1),
            "the second convolution must be a full 1×1 without padding, not Conv2d(8, 8, kernel_size=(1, 1), "
            "stride=(1, 1), padding=(1, 1))",
        ),
        (
            nn.Conv2d(8, 8, 3, groups=4),
            nn.Conv2d(8, 8, 1),
            "padding=(0, 0) puts the centre tap off the position that the 1×1 reads; it must be (1, 1)",
        ),
        (
            nn.Conv2d(8, 8, 4, padding=2, groups=4),
            nn.Conv2d(8, 8, 1),
            "kernel_size=4 must be odd, to have a centre tap; nearest: 3 or 5",
        ),
        (nn.Linear(8, 8), nn.Conv2d(8, 8, 1), "fold_pointwise takes two nn.Conv2d, not Linear"),
        (nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.Linear(8, 8), "fold_pointwise takes two nn.Conv2d, not Linear"),
    ],
)
def test_errors(grouped, pointwise, message):
    with pytest.raises(UsageError) as caught:
        fold_pointwise(grouped, pointwise)
    assert str(caught.value) == message
