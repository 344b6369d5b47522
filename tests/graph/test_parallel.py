"""Sums of parallel convolutions become one, which computes the same."""

import copy

import pytest
import torch
from torch import nn

from hetconv import HetConv2d, deploy
from hetconv.deployment import find_parts
from hetconv.deployment.against_original import OverBudgetError
from hetconv.ops import native

pytestmark = pytest.mark.skipif(native.why_not_loaded() is not None, reason="no native kernels")


def norm(channels):
    found = nn.BatchNorm2d(channels)
    with torch.no_grad():
        found.running_mean.normal_()
        found.running_var.uniform_(0.5, 2)
        found.weight.uniform_(0.5, 2)
        found.bias.normal_()
    return found


def convolution(in_channels, out_channels, kernel, **settings):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, bias=False, **settings), norm(out_channels))


class Sum(nn.Module):
    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        found = self.branches[0](x)
        for branch in self.branches[1:]:
            found = found + branch(x)
        return found.relu()


class FromZero(Sum):
    """As code adds that does not know its first branch."""

    def forward(self, x):
        found = 0
        for branch in self.branches:
            found += branch(x)
        return found.relu()


BLOCKS = {
    "a sum that begins with 0": FromZero(convolution(16, 16, 3, padding=1), convolution(16, 16, 1), norm(16)),
    "RepVGG": Sum(convolution(16, 16, 3, padding=1), convolution(16, 16, 1), norm(16)),
    "a norm first": Sum(norm(16), convolution(16, 16, 1), convolution(16, 16, 3, padding=1)),
    "with stride": Sum(convolution(16, 32, 1, stride=2), convolution(16, 32, 3, stride=2, padding=1)),
    "depthwise": Sum(
        convolution(16, 16, 3, padding=1, groups=16), convolution(16, 16, 1, groups=16), norm(16),
        convolution(16, 16, 3, padding=1, groups=16),
    ),
    "grouped with depthwise": Sum(convolution(16, 16, 3, padding=1, groups=4), convolution(16, 16, 1, groups=16)),
    "kernels of two sizes": Sum(convolution(16, 16, (5, 3), padding=(2, 1)), convolution(16, 16, 3, padding=1)),
    "dilation beside 1×1": Sum(convolution(16, 16, 3, padding=2, dilation=2), nn.Conv2d(16, 16, 1)),
    "HetConv": Sum(HetConv2d(16, 16, 3, p=4, padding=1), convolution(16, 16, 1), norm(16)),
    "two HetConv": Sum(HetConv2d(16, 32, 3, p=4, padding=1), HetConv2d(16, 32, 3, p=4, padding=1, bias=True)),
}  # fmt: skip


def called(deployed):
    """The convolutions that a deployed network calls."""
    return [entry for entry in deployed.report.convolutions if "part of" not in entry.reason]


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_they_are_one_call_and_compute_the_same(block):
    x = torch.randn(2, 16, 9, 11)
    deployed = deploy(block, x, timed=False)
    assert len(called(deployed)) == 1
    assert ("het P4" in called(deployed)[0].layer) == isinstance(block.branches[0], HetConv2d)
    right = copy.deepcopy(block).double().eval()(x.double())
    assert (deployed(x) - right).abs().max() < 1e-5 * right.abs().max()


class Read(Sum):
    """A branch's output is also read elsewhere."""

    def forward(self, x):
        first = self.branches[0](x)
        return (first + self.branches[1](x)) * first


APART = {
    "another value": nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), Read(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1))),
    "another place": Sum(nn.Conv2d(16, 16, 3, stride=3), nn.Conv2d(16, 16, 1, stride=3)),
    "an even kernel": Sum(nn.Conv2d(16, 16, 2), nn.Conv2d(16, 16, 2)),
    "dilation beside none": Sum(nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.Conv2d(16, 16, 3, padding=1)),
    "a dense kernel beside HetConv": Sum(HetConv2d(16, 16, 3, p=4, padding=1), nn.Conv2d(16, 16, 3, padding=1)),
    "a full layer beside a grouped one": Sum(nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.Conv2d(16, 16, 1)),
}


@pytest.mark.parametrize("network", APART.values(), ids=APART)
def test_others_stay_apart(network):
    x = torch.randn(2, 16, 9, 9)
    network.eval()
    convolutions = sum(isinstance(module, nn.Conv2d | HetConv2d) for module in network.modules())
    deployed = deploy(network, x, timed=False)
    assert len(called(deployed)) == convolutions
    assert torch.allclose(deployed(x), network(x), atol=1e-5)


def test_the_report_says_what_each_became():
    block = Sum(convolution(16, 16, 3, padding=1), convolution(16, 16, 1), norm(16))
    entries = {entry.name: entry for entry in deploy(block, torch.randn(1, 16, 8, 8), timed=False).report.convolutions}
    assert entries["branches.1.0"].reason == "part of branches.0.0"
    assert entries["branches.0.0"].joined == ("relu",)


def test_where_their_sum_rounds_too_much_they_stay_apart(monkeypatch):
    check = find_parts.check_part

    def strict(name, original, deployed, *others):
        if len(joins) == 1:
            raise OverBudgetError("off by much")
        return check(name, original, deployed, *others)

    joins = []
    join = find_parts.prepare

    def prepare(*args, **settings):
        if settings["join"] not in joins:
            joins.append(settings["join"])
        return join(*args, **settings)

    monkeypatch.setattr(find_parts, "check_part", strict)
    monkeypatch.setattr(find_parts, "prepare", prepare)
    block = Sum(convolution(16, 16, 3, padding=1), convolution(16, 16, 1))
    assert len(called(deploy(block, torch.randn(1, 16, 8, 8), timed=False))) == 2
    assert joins == [True, False]
