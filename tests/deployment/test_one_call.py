"""A float32 network as one native call: the numbers of its graph for any batch and size, or the reason why not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hetconv import deploy, load_deployed
from hetconv.deployment.choose import Times

from .networks import Block, Written, choose_native, exact, het, images


@pytest.fixture(autouse=True)
def _one_call_is_faster(monkeypatch):
    choose_native(monkeypatch, native=True)


def deployed_as_one(model, x=None):
    """Checked to be the original's numbers on several sizes, from the native call."""
    x = images() if x is None else x
    model = exact(model)
    made = deploy(model, x)
    (part,) = made.report.planned
    assert part.one_call
    assert part.refused == ()
    with torch.no_grad():
        for batch in (x, torch.cat([x, x, x]), x.contiguous(memory_format=torch.channels_last), x[:, :, :, 1:]):
            right = model(batch)
            assert torch.equal(made(batch), right)
            assert torch.equal(made.network._call(batch), right)
    return made


class Small(nn.Module):
    """Most of what the native network has, of whole numbers: means are those of one pixel."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(4, 8, 2), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.depthwise_norm, self.grouped = nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3, padding=1, groups=4)
        self.squeeze, self.excite = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.late_norm, self.scale = nn.BatchNorm2d(12), nn.Parameter(torch.ones(12, 1, 1))
        self.hidden, self.linear = nn.Linear(20, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(F.pad(x, (0, 1, 1, 2)))))
        x = F.relu6(self.depthwise_norm(self.depthwise(x)), inplace=True)
        y = self.grouped(x)
        gate = F.relu(self.excite(F.relu(self.squeeze(y[:, :, ::9, ::9].mean((2, 3), keepdim=True)))))
        y = F.relu(self.late_norm(y * gate + y) * self.scale + 1)
        first, other = torch.cat([F.max_pool2d(y, 3, 1, 1), x], 1).chunk(2, 1)
        y = torch.cat([other, first], 1)[:, :, ::7, ::7]
        return self.linear(F.relu(self.hidden(F.adaptive_avg_pool2d(y, 1).view(x.shape[0], -1))))


def test_a_network_of_many_kinds():
    made = deployed_as_one(Small())
    kinds = {step.kind for step in made.network.steps().steps}
    assert kinds >= {
        "grouped_convolution",
        "float_convolution",
        "float_join",
        "float_affine",
        "select_channels",
        "pad_image",
    }
    assert "the whole runs as one native call: 1.000 ms as one, 2.000 ms one by one" in str(made.report)


def test_a_residual_block():
    made = deployed_as_one(Block())
    assert [step.kind for step in made.network.steps().steps] == ["float_convolution"] * 2


class Gates(nn.Module):
    """Squeeze and excitation by linear layers, whose numbers become an image of one pixel in a way that is given."""

    def __init__(self, to_pixel):
        super().__init__()
        self.first, self.squeeze, self.excite = nn.Conv2d(4, 8, 1), nn.Linear(8, 4), nn.Linear(4, 8)
        self.to_pixel = to_pixel

    def forward(self, x):
        x = self.first(x)
        return F.relu(x * self.to_pixel(F.relu(self.excite(F.relu(self.squeeze(x[:, :, ::9, ::9].mean((2, 3))))))))


@pytest.mark.parametrize(
    "to_pixel",
    [
        lambda gate: gate[:, :, None, None],
        lambda gate: gate[..., None, None],
        lambda gate: gate.unsqueeze(-1).unsqueeze(-1),
        lambda gate: gate.unsqueeze(2).unsqueeze(3),
        lambda gate: gate.view(gate.shape[0], 8, 1, 1),
    ],
)
def test_squeeze_and_excitation_by_linear_layers(to_pixel):
    made = deployed_as_one(Gates(to_pixel))
    assert "float_join" in {step.kind for step in made.network.steps().steps}


def test_the_classifier_of_flattened_images():
    model = nn.Sequential(het(), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 5, 3))
    x = images()
    made = deploy(exact(model), x)
    assert made.report.planned[0].one_call
    for batch in (x, images(5)):
        assert torch.equal(made.network._call(batch), model(batch))
    assert made.network._call(images(2, 4, 5, 5)) is None
    with pytest.raises(RuntimeError):  # of the graph, as before
        made(images(2, 4, 5, 5))


@pytest.mark.parametrize("name", ["hardswish", "hardsigmoid", "silu", "gelu"])
def test_activations_join_the_convolutions(name):
    function = getattr(F, name)
    grouped = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    for conv in (het(), grouped):
        model = exact(Written(lambda x, conv, norm: function(norm(conv(x))), conv=conv))
        x = images()
        made = deploy(model, x)
        assert [step.numbers[-1] != 0 for step in made.network.steps().steps] == [True]
        torch.testing.assert_close(made(x), model(x), rtol=6e-7, atol=2e-6)


def segmentation(x, conv, norm):
    """Whole numbers, and sixteenths of them."""
    small = F.max_pool2d(F.relu(norm(conv(x))), 2)
    y = torch.cat([F.interpolate(input=small, size=x.shape[2:]), x], 1)
    return F.interpolate(F.interpolate(y, size=(7, 3), mode="nearest-exact"), scale_factor=(2, 2), mode="bilinear")


def shuffled(x, conv, norm):
    y = F.relu(norm(conv(x)))
    batch, channels, height, width = y.shape
    y = y.reshape(batch, 2, channels // 2, height, width).transpose(2, 1).reshape(batch, -1, height, width)
    return F.channel_shuffle(torch.maximum(input=y - x, other=torch.minimum(x, y)), 2) - 1


def last(x, conv, norm):
    y = norm(conv(x)).permute(0, 2, 3, 1)
    return (2 - F.relu(y * torch.tensor([1.0, 2.0, 3.0, 4.0]))).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("function", "kind"), [(segmentation, "resize"), (shuffled, "select_channels"), (last, "float_affine")]
)
def test_other_sizes_of_images_and_orders_of_channels(function, kind):
    made = deployed_as_one(Written(function))
    assert kind in {step.kind for step in made.network.steps().steps}


class LastChannels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.up, self.down = het(), nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return x + self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


def test_layer_norms_and_linear_layers_of_channels_that_are_the_last_dimension():
    torch.manual_seed(0)
    model, x = LastChannels().eval(), images()
    made = deploy(model, x)
    assert made.report.planned[0].one_call
    assert [step.kind for step in made.network.steps().steps].count("float_convolution") == 3
    torch.testing.assert_close(made.network._call(x), model(x), rtol=1e-5, atol=1e-5)


def test_an_empty_batch_runs_as_before():
    made = deployed_as_one(Block())
    assert made(images()[:0]).shape == (0, 4, 6, 5)


def test_what_is_no_step_is_named_with_its_reason():
    model = exact(Written(lambda x, conv, norm: F.leaky_relu(norm(conv(x)), 0.5) + x.cumsum(2)))
    made = deploy(model, images())
    (part,) = made.report.planned
    assert not part.one_call
    assert [(call.name, call.reason) for call in part.refused] == [
        ("leaky_relu", "leaky_relu is no operation of the native network"),
        ("cumsum", "cumsum is no operation of the native network"),
    ]
    assert "cumsum is no operation of the native network" in str(made.report)
    x = images(3)
    assert torch.equal(made(x), model(x))


def test_several_outputs_are_no_one_call():
    model = exact(Written(lambda x, conv, norm: (conv(x), norm(conv(x)))))
    (part,) = deploy(model, images()).report.planned
    assert [call.reason for call in part.refused] == ["the network gives more than one tensor"]


NOT_AS_A_WHOLE = {
    "a broadcast sum": (
        lambda x, conv, norm: norm(conv(x)) + F.max_pool2d(x, (1, 5)),
        "what is joined has another size",
    ),
    "a size that is left open": (
        lambda x, conv, norm: F.adaptive_avg_pool2d(norm(conv(x)), (None, 1)),
        "its arguments are none of the native network's",
    ),
}


@pytest.mark.parametrize(("function", "reason"), NOT_AS_A_WHOLE.values(), ids=NOT_AS_A_WHOLE)
def test_what_the_native_network_refuses_runs_as_before(function, reason):
    model, x = exact(Written(function)), images()
    made = deploy(model, x)
    (part,) = made.report.planned
    assert not part.one_call
    assert reason in part.refused[0].reason
    torch.testing.assert_close(made(x), model(x), rtol=0, atol=1e-6)  # means of five whole numbers


def test_it_is_one_call_after_another_where_that_is_faster(monkeypatch):
    monkeypatch.setattr("hetconv.deployment.find_parts.call_is_faster", lambda one, many: (False, Times(3.0, 2.0)))
    made = deploy(exact(Block()), images())
    assert not made.network.planned
    assert "the whole runs as one call after another: 3.000 ms as one, 2.000 ms one by one" in str(made.report)


def test_saved_loaded_and_copied(tmp_path):
    made, x = deployed_as_one(Small()), images(3)
    right = made(x)
    made.save(tmp_path / "small")
    for other in (load_deployed(tmp_path / "small"), copy.deepcopy(made)):
        assert other.network.planned
        assert torch.equal(other.network._call(x), right)
    assert load_deployed(tmp_path / "small").report == made.report


def test_images_in_the_output_are_channels_last():
    made = deployed_as_one(Block())
    assert made(images()).is_contiguous(memory_format=torch.channels_last)
