import copy

import pytest
import torch
from torch import nn

from hetconv import convert_, distill_
from hetconv.adaptation.distilling import difference
from hetconv.adaptation.passes import inference
from hetconv.adaptation.statistics import Answers
from hetconv.errors import HetconvError, UsageError

from .networks import branches, smooth_images


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def converted(original, p=4):
    network = copy.deepcopy(original)
    convert_(network, p)
    return network


class Maps(nn.Module):
    """Two maps of other sizes, by name."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 3, padding=1, stride=2)

    def forward(self, x):
        x = self.first(x).relu()
        return {"features": x, "scores": self.second(x)}


class Labels(Maps):
    def forward(self, x):
        return super().forward(x)["scores"].argmax(1)


class Scales(Maps):
    """It changes its input in place."""

    def forward(self, x):
        return super().forward(x.mul_(0.5))


def test_the_difference_is_that_of_all_outputs_over_what_is_wanted():
    found = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    wanted = [torch.tensor([1.0, 4.0]), torch.tensor([[0.0]])]
    assert difference(found, wanted) == (4 + 9) / 17
    assert difference(found, [torch.zeros(2), torch.zeros(1, 1)]) == 14  # nothing to be relative to


@pytest.mark.parametrize("make", [branches, Maps])
def test_outputs_of_images_that_it_has_not_seen_come_nearer(make):
    original = make().eval()
    network = converted(original)
    unseen = [smooth_images(32)]
    with inference(network, original):
        right = Answers.of(original, unseen)
        before = right.error_of(network)
    told = []
    report = distill_(
        network, original, smooth_images(64), steps=40, learning_rate=1e-2, told=lambda *of: told.append(of)
    )
    assert [step for step, _ in told] == list(range(1, 41))
    assert report.is_kept
    assert report.error_after < 0.5 * report.error_before
    with inference(network, original):
        assert right.error_of(network) < 0.6 * before
    assert f"{report.error_before:.4f} → {report.error_after:.4f} after 40 steps" in str(report)


def test_the_original_the_modes_and_the_statistics_are_left_as_they_were():
    original = branches().train()
    network = converted(original)
    before, norms = state(original), state(network.norm)
    distill_(network, original, smooth_images(64), steps=3)
    assert same(state(original), before)
    assert original.training
    assert network.training
    assert torch.equal(network.norm.running_mean, norms["running_mean"])
    assert not torch.equal(network.norm.weight, norms["weight"])
    assert all(p.grad is None for model in (network, original) for p in model.parameters())


def test_the_images_are_left_as_they_were():
    original = Scales().eval()
    images = [smooth_images(4).requires_grad_() for _ in range(4)]
    before = [batch.detach().clone() for batch in images]
    report = distill_(converted(original), original, images, steps=20, learning_rate=1e-2)
    assert all(torch.equal(batch, kept) for batch, kept in zip(images, before, strict=True))
    assert all(batch.grad is None for batch in images)
    assert report.is_kept


def test_in_bfloat16_the_outputs_come_nearer_too():
    original = Maps().eval()
    network = converted(original)
    report = distill_(network, original, smooth_images(128), steps=60, learning_rate=1e-2, dtype=torch.bfloat16)
    assert report.error_after < 0.5 * report.error_before
    assert network.first.bias.dtype == torch.float32


def test_what_brings_it_no_nearer_is_not_kept():
    original = branches()
    network = copy.deepcopy(original)  # nothing is nearer than this
    before = state(network)
    report = distill_(network, original, smooth_images(64), steps=2)
    assert not report.is_kept
    assert same(state(network), before)
    assert "as it was before" in str(report)


class TestRefusals:
    def refused(self, match, network, original, images, error=UsageError, **settings):
        before = state(network)
        with pytest.raises(error, match=match) as caught:
            distill_(network, original, images, **{"steps": 2, **settings})
        assert "\n" not in str(caught.value)
        assert same(state(network), before)

    def test_wrong_settings(self):
        original = branches()
        network = converted(original)
        self.refused("steps=0", network, original, smooth_images(8), steps=0)
        self.refused("steps=2.5 must be a whole number", network, original, smooth_images(8), steps=2.5)
        self.refused("learning_rate=inf", network, original, smooth_images(8), learning_rate=float("inf"))
        self.refused("dtype=torch.float64 must be", network, original, smooth_images(8), dtype=torch.float64)
        self.refused("learning_rate=nan", network, original, smooth_images(8), learning_rate=float("nan"))
        self.refused("share weights", original, original, smooth_images(8))
        self.refused("requires a gradient", network.requires_grad_(False), original, smooth_images(8))

    def test_a_teacher_of_other_outputs(self):
        original = branches()
        network = converted(original)
        original.head = nn.Linear(16, 6)
        self.refused("outputs of different shapes", network, original, smooth_images(8))

    def test_outputs_without_a_number_to_compare(self):
        original = Labels().eval()
        self.refused("Labels gives no floating-point tensor", converted(original), original, smooth_images(8))

    def test_outputs_that_depend_on_nothing_that_can_be_trained(self):
        original = Maps().eval()
        original.unused = nn.Parameter(torch.ones(1))
        network = converted(original)
        network.first.requires_grad_(False)
        network.second.requires_grad_(False)
        self.refused("do not depend on any parameter", network, original, smooth_images(8))

    def test_a_rate_at_which_it_diverges(self):
        original = branches()
        self.refused(
            "lower learning_rate", converted(original), original, smooth_images(8), HetconvError,
            steps=20, learning_rate=1e30,
        )  # fmt: skip


def test_an_error_in_the_middle_puts_all_weights_back():
    original = branches()
    network = converted(original)
    before = state(network)

    gradients = []

    def stop(gradient):
        gradients.append(gradient)
        if len(gradients) == 2:
            raise KeyboardInterrupt

    network.stem.bias.register_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        distill_(network, original, smooth_images(32), steps=3)
    assert same(state(network), before)
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
