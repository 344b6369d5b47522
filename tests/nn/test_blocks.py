"""The blocks that HetConv replaces, against the same operations called by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.nn import GroupwisePointwise, SqueezeExcitation


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_groupwise_pointwise_without_norm(groups):
    block = GroupwisePointwise(8, 12, 3, 2, 1, groups=groups, norm=None)
    x = torch.randn(2, 8, 9, 7)
    middle = functional.conv2d(x, block.groupwise.weight, block.groupwise.bias, 2, 1, groups=groups)
    right = functional.conv2d(middle, block.pointwise.weight, block.pointwise.bias)
    assert torch.equal(block(x), right)
    assert block.groupwise.weight.shape == (8, 8 // groups, 3, 3)
    assert block.groupwise.bias is not None
    assert block.extra_layers == 1


@pytest.mark.parametrize("bias", [True, False])
def test_groupwise_pointwise_with_norm_and_activation_between(bias):
    block = GroupwisePointwise(8, 12, (3, 5), 1, (1, 2), 1, groups=8, bias=bias)
    x = torch.randn(4, 8, 9, 7)
    middle = functional.conv2d(x, block.groupwise.weight, None, 1, (1, 2), groups=8)
    middle = functional.batch_norm(middle, None, None, block.norm.weight, block.norm.bias, training=True).relu()
    right = functional.conv2d(middle, block.pointwise.weight, block.pointwise.bias)
    assert torch.equal(block(x), right)
    assert block.groupwise.bias is None
    assert (block.pointwise.bias is not None) == bias


def test_groupwise_pointwise_takes_any_norm():
    block = GroupwisePointwise(8, 8, 3, norm=lambda channels: nn.GroupNorm(2, channels))
    assert isinstance(block.norm, nn.GroupNorm)


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(16, 8, 2), (20, 8, 2), (8, 8, 1), (4, 1, 4)])
def test_squeeze_excitation(channels, reduction, hidden):
    block = SqueezeExcitation(channels, reduction)
    x = torch.randn(2, channels, 5, 3)
    means = x.mean((2, 3))
    squeezed = functional.linear(means, block.squeeze.weight, block.squeeze.bias).clamp(min=0)
    gate = 1 / (1 + torch.exp(-functional.linear(squeezed, block.excite.weight, block.excite.bias)))
    # the sigmoid is written out: a few roundings of a number below 1
    assert (block(x) - x * gate.view(2, channels, 1, 1)).abs().max() <= 8 * torch.finfo(x.dtype).eps * x.abs().max()
    assert block.squeeze.weight.shape == (hidden, channels)
    assert block.extra_layers == 2


def test_squeeze_excitation_keeps_the_memory_format():
    x = torch.randn(2, 16, 5, 3).to(memory_format=torch.channels_last)
    assert SqueezeExcitation(16)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GroupwisePointwise(6, 8, 3, groups=4), "in_channels=6 must be divisible by groups=4; nearest: 3 or 6"),
        (lambda: GroupwisePointwise(6, 8, 3, groups=0), "groups=0 must be a positive integer"),
        (lambda: SqueezeExcitation(4), "reduction=8 must be from 1 to channels=4"),
        (lambda: SqueezeExcitation(4, 0), "reduction=0 must be from 1 to channels=4"),
    ],
)
def test_errors(build, message):
    with pytest.raises(UsageError) as caught:
        build()
    assert str(caught.value) == message
