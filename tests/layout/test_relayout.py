"""Small networks of whole numbers: the same outputs with `==`, and back to the same bits."""

import copy
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from hetconv import HetConv2d, relayout
from hetconv.errors import HetconvError, UsageError
from hetconv.layout.rewrite import gather_channels
from hetconv.nn import SqueezeExcitation

from .networks import check, het, image, layers, whole


def head(channels, area=1):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels * area, 5)]


def body(*between, p=4):
    return [nn.Conv2d(3, 8, 1), *between, het(8, 16, p), nn.BatchNorm2d(16), nn.ReLU(), het(16, 8, p)]


@pytest.mark.parametrize(
    "between",
    [
        (nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        (nn.InstanceNorm2d(8, affine=True),),
        (nn.PReLU(8),),
        (nn.PReLU(),),
        (nn.MaxPool2d(2), nn.Dropout2d(), nn.Hardtanh()),
        (nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.ZeroPad2d(4)),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6()),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)),
        (HetConv2d(8, 8, 3, padding=1, p=1),),
        (HetConv2d(8, 8, (1, 3), padding="same", p=2, padding_mode="circular", bias=False),),
        (SqueezeExcitation(8, 2),),
    ],
    ids=lambda between: "-".join(type(module).__name__ for module in between),
)
@pytest.mark.parametrize("to", ["blocked", "shifted"])
def test_what_lies_between_is_permuted_along(between, to):
    model = nn.Sequential(*copy.deepcopy(body(*between)), *head(8))
    if to == "shifted":
        model = relayout(model.eval(), "blocked")
    normalizes = isinstance(between[0], nn.InstanceNorm2d | SqueezeExcitation)
    if not normalizes:
        check(model, to=to)
        return
    model = whole(model.double())  # divides: whole numbers do not stay whole, but each channel's do the same
    with torch.no_grad():
        torch.testing.assert_close(relayout(model, to)(image()), model(image()), rtol=1e-12, atol=1e-12)


def test_features_of_a_flattened_map_move_together():
    check(nn.Sequential(*body(), nn.Flatten(), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 7), nn.Linear(7, 3)))


class Powers(nn.Module):
    def forward(self, x):
        return torch.floor(x**2 / 4) + torch.remainder(x, 3).round()


def test_powers_remainders_and_rounding_keep_channels_apart():
    check(nn.Sequential(*body(Powers()), *head(8)))


def test_depthwise_with_a_multiplier():
    check(nn.Sequential(*body(), nn.Conv2d(8, 24, 3, groups=8), nn.ReLU(), nn.Conv2d(24, 6, 1)))


class Residual(nn.Module):
    def __init__(self, p=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first, self.second = het(8, 8, p), het(8, 8, p)
        self.down, self.third = nn.Conv2d(8, 16, 1, stride=2), HetConv2d(8, 16, 3, 2, 1, p=p)
        self.scale = nn.Parameter(torch.ones(16, 1, 1))
        self.classifier = nn.Linear(16, 4)

    def forward(self, x):
        x = self.stem(x)
        x = functional.relu(self.second(functional.relu(self.first(x))) + x)
        x = self.scale * self.third(x) + self.down(x)
        x = functional.max_pool2d(functional.pad(x, (2, 2, 2, 2)), 2)
        return self.classifier(x.mean((2, 3)).view(x.size(0), -1))


@pytest.mark.parametrize("p", [2, 4, 8])
def test_additions_join(p):
    check(Residual(p))


class Dense(nn.Module):
    """Concatenations that 1×1 convolutions read, as in DenseNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.norm, self.squeeze, self.grow = nn.BatchNorm2d(8), nn.Conv2d(8, 16, 1), het(16, 4)
        self.norm2, self.squeeze2, self.grow2 = nn.BatchNorm2d(12), nn.Conv2d(12, 16, 1), het(16, 4)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([x, self.grow(self.squeeze(torch.relu(self.norm(x))))], 1)
        x = torch.cat([x, self.grow2(self.squeeze2(torch.relu(self.norm2(x))))], dim=1)
        return self.last(torch.flatten(functional.adaptive_max_pool2d(x, 1), 1))


def test_concatenations_are_absorbed():
    check(Dense())


class ChannelsLastNorm(nn.Module):
    """A block in the manner of ConvNeXt: layer norm and linear layers behind a permutation of dimensions."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 8, 1), het(8, 8)
        self.expand, self.project = nn.Linear(8, 16), nn.Linear(16, 8)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x):
        x = self.stem(x)
        y = self.mix(x).permute(0, 2, 3, 1)
        y = self.project(functional.relu(self.expand(y))).permute(0, 3, 1, 2)
        return functional.adaptive_avg_pool2d(x + self.scale * y, 1).sum((1, 2, 3))


def test_channels_that_change_their_dimension_are_followed():
    check(ChannelsLastNorm())


class ByFunction(nn.Module):
    """Layers whose own parameters are given to functions, as in models of other libraries."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8)
        self.mix, self.slope = het(8, 16), nn.PReLU(16)
        self.squeeze, self.classifier = nn.Conv2d(16, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = functional.conv2d(x, self.stem.weight, self.stem.bias)
        x = functional.conv2d(x, self.depthwise.weight, padding=1, groups=8)
        x = functional.prelu(self.mix(x=x), self.slope.weight)
        x = functional.conv2d(x, self.squeeze.weight, bias=self.squeeze.bias)
        return functional.linear(x.amax((2, 3)), self.classifier.weight, self.classifier.bias)


def test_layers_by_function_are_followed_like_modules():
    check(ByFunction())


class Counted(nn.Module):
    """Counts the batches that it trains on."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 2, 1))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.batches.add_(1)
        return self.block(x)


def test_buffers_that_training_changes_are_as_they_were():
    moved = relayout(Counted().train(), "blocked")
    assert moved.batches == 0
    moved(torch.zeros(1, 3, 8, 8))
    assert moved.batches == 1


class NumPysNames(nn.Module):
    """Dimensions by the names that NumPy has for these arguments, and one slope that is no list."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 8, 1), het(8, 8), het(8, 8)
        self.slope, self.classifier = nn.Parameter(torch.ones(())), nn.Linear(16, 4)

    def forward(self, x):
        x = functional.prelu(self.one(self.stem(x)), self.slope)
        x = x * x.mean(axis=(2, 3), keepdims=True).relu()
        x = torch.cat((self.two(x), x), axis=1)
        return self.classifier(torch.amax(x, axis=(2, 3)))


def test_numpys_names_of_arguments_are_read():
    check(NumPysNames())


@pytest.mark.parametrize("parts", [(2, 4, 8), (8, 2, 4), (4, 4, 2), (1, 8, 2)])
def test_p_that_divide_each_other_are_blocked_at_once(parts):
    one, two, three = parts
    check(nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 16, one), het(16, 24, two), nn.ReLU(), het(24, 8, three), *head(8)))


def test_p_that_do_not_divide_each_other_may_be_in_one_network_but_not_meet():
    apart = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8, 4), nn.Conv2d(8, 12, 1), het(12, 12, 6), *head(12))
    check(apart)
    meet = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 12, 4), het(12, 12, 6), nn.ReLU(), het(12, 12, 6), *head(12))
    with pytest.raises(UsageError, match=r"1 \(p=4\) and 2 \(p=6\) share channels, and neither P divides the other"):
        relayout(meet, "blocked")
    check(meet, gather=True)


def test_a_layer_between_spaces_that_cannot_agree_gets_gathers():
    """P=6 would have to be sorted by c mod 2 on one side and by c mod 3 on the other, in one order of parts."""
    model = nn.Sequential(nn.Conv2d(3, 12, 1), het(12, 12, 2), het(12, 12, 6), het(12, 12, 3), *head(12))
    with pytest.raises(UsageError, match="cannot have its parts in the same order on both sides"):
        relayout(model, "blocked")
    check(model, gather=True)


def test_layers_that_are_there_already_stay():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 8, 1), het(8, 8, arrangement="blocked"), nn.Conv2d(8, 2, 1)
    )
    check_there = whole(model.double())
    moved = relayout(check_there, "blocked")
    assert torch.equal(moved[3].weight_spatial, check_there[3].weight_spatial)
    with torch.no_grad():
        assert torch.equal(moved(image()), check_there(image()))


def test_layers_of_both_arrangements_that_meet():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.ReLU(), het(8, 8, arrangement="blocked"), *head(8))
    with pytest.raises(UsageError, match=r"1 \(p=4\) meets channels that cannot move: 3 \(p=4\) is blocked already"):
        relayout(model, "blocked")
    moved = relayout(whole(model.double()), "blocked", gather=True)
    with torch.no_grad():
        assert torch.equal(moved(image()), model(image()))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.last = (
            nn.Conv2d(3, 8, 1),
            nn.Sequential(het(8, 8), nn.BatchNorm2d(8)),
            nn.Linear(8, 2),
        )

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = x + self.block(x)
        return self.last(x.amax((2, 3)))


def test_a_layer_that_is_called_often():
    check(Shared())


class Trains(nn.Module):
    """A head that runs in training only, as in GoogLeNet."""

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 1), het(8, 8)
        self.last, self.extra = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        x = self.block(self.stem(x)).amax((2, 3))
        return self.last(x) + self.extra(x) if self.training else self.last(x)


def test_what_runs_in_training_only_is_moved_too():
    model = Trains()
    moved = check(model)
    with torch.no_grad():
        assert torch.equal(moved.train()(image()), model.train()(image()))


def test_gradients_are_the_same_up_to_the_permutation():
    model = whole(Residual().double())
    moved = relayout(model, "blocked")
    for network in (model, moved):
        network(image()).sum().backward()
    assert torch.equal(model.stem.weight.grad.sum(0), moved.stem.weight.grad.sum(0))
    assert not torch.equal(model.stem.weight.grad, moved.stem.weight.grad)


def test_the_copy_is_as_the_model_was():
    model = Residual().to(memory_format=torch.channels_last).half()
    model.stem.requires_grad_(False)
    model.first.eval()
    moved = relayout(model, "blocked")
    assert type(moved) is Residual
    for (name, old), (_, new) in zip(model.named_parameters(), moved.named_parameters(), strict=True):
        assert (old.dtype, old.stride(), old.requires_grad) == (new.dtype, new.stride(), new.requires_grad), name
    assert [m.training for m in model.modules()] == [m.training for m in moved.modules()]


def test_a_network_without_layers_to_move_is_copied():
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    assert torch.equal(relayout(model, "blocked")[0].weight, model[0].weight)


def test_gathers_are_as_few_as_can_be():
    """The padded shortcuts of the CIFAR ResNets: one gather before and one behind each of the two."""
    from hetconv.lab.models import create_model

    model = create_model("resnet20_cifar", "het-p4", width=0.5).double().eval()
    moved = relayout(model, "blocked", gather=True)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(moved(x), model(x), rtol=1e-12, atol=1e-12)
    assert sum(node.target is gather_channels for node in moved.graph.nodes) == 4
    assert len(layers(moved)) == 18
    assert not [name for name in moved.state_dict() if "order" in name]


def test_dtype_is_kept_by_gathered_networks_in_training():
    from hetconv.lab.models import create_model

    model = create_model("resnet20_cifar", "het-p4", width=0.25)
    moved = relayout(model, "blocked", gather=True)
    assert moved.training
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(moved(x), model(x), rtol=1e-3, atol=1e-3)  # batch statistics divide by small deviations


class SpatialGate(nn.Module):
    """One number a pixel, from a function that is not followed, multiplies all channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.last = nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.block(self.stem(x))
        return self.last(torch.flip(x.amax(1, keepdim=True), (2,)) * x * torch.flip(x, (3,)).sum())


def test_what_is_broadcast_over_channels_needs_no_gather():
    with pytest.raises(UsageError, match="gather=True"):
        relayout(SpatialGate(), "blocked")
    check(SpatialGate(), gather=True)


class Functional(nn.Module):
    """Batch norm by function, as in timm, and a clamp by tensors, which is not elementwise in the channels' order."""

    def __init__(self, clamps):
        super().__init__()
        self.stem, self.block, self.last = nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 2, 1)
        self.norm, self.clamps = nn.BatchNorm2d(8), clamps
        if clamps:
            self.low = nn.Parameter(torch.zeros(8, 1, 1))

    def forward(self, x):
        x, norm = self.block(self.stem(x)), self.norm
        x = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.1, norm.eps)
        return self.last(torch.clamp(x, self.low, self.low + 4) if self.clamps else x)


def test_normalization_by_function_is_permuted_along():
    check(Functional(clamps=False))


def test_functions_of_several_tensors_read_them_as_they_are():
    with pytest.raises(UsageError, match="clamp is not known to keep channels apart"):
        relayout(Functional(clamps=True), "blocked")
    check(Functional(clamps=True), gather=True)


class InPlace(nn.Module):
    """Gathers, since the input of its one layer keeps its order; and writes in place."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.a, self.b = nn.Conv2d(3, 8, 1), het(8, 8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.function(torch.flip(self.a(x), (1,)), self.b, self.relu)


def under_a_second_name(x, layer, relu):
    same = x
    x += 1
    return torch.flip(layer(same), (1,)) + x


def rectified(x, layer, relu):
    relu(x)
    return torch.flip(layer(x), (1,)) + x


def returned(x, layer, relu):
    return torch.flip(relu(layer(x)).mul_(2), (1,))


@pytest.mark.parametrize("function", [under_a_second_name, rectified, returned])
def test_writes_in_place_are_seen_by_those_who_saw_them_before(function):
    model = whole(InPlace(function).double())
    moved = relayout(model, "blocked", gather=True)
    assert isinstance(moved, torch.fx.GraphModule)
    assert model.relu.inplace
    x = image()
    with torch.no_grad():
        assert torch.equal(moved(x), model(x))


def test_a_write_that_is_seen_through_a_view_is_refused_where_channels_are_gathered():
    def viewed(x, layer, relu):
        half = x[:, :4]
        x.add_(1)
        return torch.flip(layer(x), (1,))[:, :4] + half

    model = whole(InPlace(viewed).double())
    with pytest.raises(UsageError, match=r"^InPlace cannot be run as a graph: add in place changes a tensor that"):
        relayout(model, "blocked", gather=True)


def test_weights_alone_move_whatever_is_written_in_place():
    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            x = self.a(x)
            top = x[:, :, :4]
            x.add_(1)
            return self.c(self.b(x))[:, :, :4] + self.c(top)

    check(Viewed())


def test_the_moved_network_is_compared_on_an_example(monkeypatch):
    model, x = whole(nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 2, 1))), image().float()
    relayout(model, "blocked", example=x)
    relayout(model, "blocked", example=(x,))

    def wrong(flow, *_):
        flow.model[1].weight_spatial.data.mul_(1.01)

    monkeypatch.setattr(sys.modules["hetconv.layout.relayout"], "permute", wrong)
    with pytest.raises(HetconvError, match=r"^Sequential, moved, is off by .* of the original in float64, allowed"):
        relayout(model, "blocked", example=x)
