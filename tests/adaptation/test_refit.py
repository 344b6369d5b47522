import copy

import pytest
import torch
from torch import nn

from hetconv import HetConv2d, convert_, refit_
from hetconv.adaptation.passes import inference
from hetconv.adaptation.statistics import Answers
from hetconv.errors import HetconvError, UsageError

from .networks import branches, smooth_images


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def converted(original, p=4, **settings):
    network = copy.deepcopy(original)
    convert_(network, p, **settings)
    return network


def test_a_network_whose_kernels_have_hetconvs_zeros_is_found_exactly():
    exact = converted(branches().double())
    original = copy.deepcopy(exact)
    for name, module in exact.named_modules():
        if isinstance(module, HetConv2d):
            parent, _, key = name.rpartition(".")
            setattr(original.get_submodule(parent) if parent else original, key, module.to_dense())
    network = copy.deepcopy(exact)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, HetConv2d):
                module.reset_parameters()
        network.right_norm.running_mean += 1  # the constant of the layer before it is found too
    report = refit_(network, original, torch.randn(400, 3, 16, 16, dtype=torch.float64))
    assert report.error_before > 0.1
    assert report.error_after < 1e-10  # float64: condition numbers of some hundreds
    assert all(layer.residual_after < 1e-14 for layer in report.layers)
    for name in ("left", "right", "last"):
        found, wanted = network.get_submodule(name), exact.get_submodule(name)
        torch.testing.assert_close(found.weight_spatial, wanted.weight_spatial, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.weight_pointwise, wanted.weight_pointwise, rtol=0, atol=1e-9)


@pytest.mark.parametrize("settings", [{}, {"p": 8}, {"arrangement": "blocked"}, {"exclude": "left"}], ids=str)
def test_residuals_fall_and_outputs_come_nearer(settings):
    original = branches()
    network = converted(original, **settings)
    images = smooth_images(256)
    report = refit_(network, original, images)
    assert all(layer.residual_after <= layer.residual_before for layer in report.layers)
    assert report.error_after < 0.6 * report.error_before
    unseen, projected = [smooth_images(64)], converted(original, **settings)
    with inference(network, projected):
        assert Answers.of(original, unseen).error_of(network) < Answers.of(original, unseen).error_of(projected)


def test_passes_may_be_in_bfloat16():
    """The equations stay in float64, so that the outputs come nearer as they do with passes in float32."""
    original, images = branches(), smooth_images(256)
    exact, network = converted(original), converted(original)
    wanted = refit_(exact, original, images)
    with torch.autocast("cpu", torch.bfloat16):
        refit_(network, original, images)
    assert all(value.dtype == torch.float32 for value in network.parameters())
    right = Answers.of(original, [smooth_images(64)])
    with inference(network, exact):
        assert right.error_of(network) < right.error_of(exact) + 0.01  # bfloat16 rounds by up to 0.4 %
    assert wanted.error_after < wanted.error_before


def test_within_autocast_a_pass_sees_weights_that_changed_after_the_last_one():
    model, x = nn.Conv2d(3, 4, 1, bias=False), torch.ones(1, 3, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with inference(model):
            assert model(x).any()
            model.weight.zero_()
            assert not model(x).any()
        assert torch.is_autocast_cache_enabled()


def test_layers_come_in_the_order_of_their_computation():
    original = branches()
    report = refit_(converted(original), original, smooth_images(64))
    assert [layer.name for layer in report.layers] == ["right", "left", "last", "head"]  # no P divides the stem's 3
    alone = refit_(converted(original), original, smooth_images(64), others=False)
    assert [layer.name for layer in alone.layers] == ["right", "left", "last"]


def test_layers_behind_bring_the_outputs_nearer():
    original, images = branches(), smooth_images(256)
    errors = [refit_(converted(original), original, images, others=others).error_after for others in (False, True)]
    assert errors[1] < errors[0]


def test_the_original_and_the_modes_are_left_as_they_were():
    original = branches().train()
    network = converted(original)
    network.right_norm.eval()
    before, given, images = state(original), smooth_images(64), smooth_images(64)
    given.copy_(images)
    refit_(network, original, images)
    assert same(state(original), before)
    assert torch.equal(images, given)
    assert original.training
    assert network.training
    assert not network.right_norm.training
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())


def test_it_gives_the_same_each_time():
    original, images = branches(), smooth_images(64)
    networks = [converted(original) for _ in range(2)]
    reports = [refit_(network, original, images) for network in networks]
    assert reports[0] == reports[1]
    assert same(state(networks[0]), state(networks[1]))


def test_batches_of_several_sizes_are_taken():
    original = branches()
    network = converted(original)
    batches = [smooth_images(16, size) for size in (12, 16, 20, 16, 24, 12)]
    assert refit_(network, original, batches).error_after < 0.9


def test_a_layer_that_no_image_reaches_is_named():
    original = branches()
    original.spare = nn.Conv2d(8, 8, 3)
    network = converted(original)
    assert refit_(network, original, smooth_images(64)).never == ("spare",)


def test_the_report_prints_each_layer():
    original = branches()
    told = []
    report = refit_(converted(original), original, smooth_images(64), told=told.append)
    assert tuple(told) == report.layers
    text = str(report)
    assert "refitted 4 layers on 64 images" in text
    for layer in report.layers:
        assert f"{layer.residual_before:.4f} → {layer.residual_after:.4f}" in text


def test_few_images_are_said_to_be_few():
    original = branches()
    report = refit_(converted(original), original, smooth_images(2, size=8))
    assert any("more images would help" in layer.note or "kept its weights" in layer.note for layer in report.layers)


class TestRefusals:
    def refused(self, match, network, original, images, error=UsageError):
        before = state(network)
        with pytest.raises(error, match=match) as caught:
            refit_(network, original, images)
        assert "\n" not in str(caught.value)
        assert same(state(network), before)

    def test_nothing_converted(self):
        original = branches()
        self.refused("has no HetConv layers", copy.deepcopy(original), original, smooth_images(8))

    def test_the_network_itself(self):
        original = branches()
        convert_(original)
        self.refused("share their layers", original, original, smooth_images(8))

    def test_another_original(self):
        original = branches()
        network = converted(original)
        self.refused("has no layer", network, nn.Sequential(nn.Conv2d(3, 4, 3)), smooth_images(8))
        original.right = nn.Conv2d(8, 16, 3, padding=1)
        self.refused("right is not the original's layer", network, original, smooth_images(8))

    def test_another_teachers_outputs(self):
        original = branches()
        network = converted(original)
        original.head = nn.Linear(16, 6)
        self.refused("outputs of different shapes", network, original, smooth_images(8))

    @pytest.mark.parametrize("images", [smooth_images(1), smooth_images(8)[:0]], ids=len)
    def test_too_few_images(self, images):
        original = branches()
        self.refused("too few", converted(original), original, images)

    def test_images_that_are_none(self):
        original = branches()
        self.refused("float tensor", converted(original), original, torch.zeros(8, 3, 16, 16, dtype=torch.uint8))
        images = smooth_images(8)
        images[3, 0, 0, 0] = float("nan")
        self.refused("not finite", converted(original), original, images)
        self.refused("does not take images", converted(original), original, torch.randn(8, 4, 16, 16))

    @pytest.mark.parametrize("of_original", [True, False])
    def test_activations_that_are_not_finite(self, of_original):
        original = branches()
        network = converted(original)
        with torch.no_grad():
            (original if of_original else network).right.bias = None
            (original if of_original else network).norm.bias.fill_(float("inf"))
        self.refused("NaN or infinity", network, original, smooth_images(8), HetconvError)


def test_an_error_in_the_middle_puts_all_weights_back():
    original = branches()
    network = converted(original)
    before = state(network)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refit_(network, original, smooth_images(32), told=stop)
    assert same(state(network), before)
