"""Whole networks in 8 bits: what they compute, what they refuse, and that they come back from a file bit by bit."""

import copy
import math
import pickle
import re
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional

from hetconv import HetConv2d, deploy
from hetconv.deployment import load_deployed
from hetconv.deployment.deploy_report import Int8Choice
from hetconv.deployment.int8 import ranges
from hetconv.deployment.int8.ranges import Observed, affine_of
from hetconv.errors import HetconvError, UsageError
from hetconv.lab import create_model
from hetconv.ops import native


def calibration(count=48, size=16):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def with_statistics(model, images):
    """In evaluation mode, batch norms with the statistics of these images."""
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(images)
    return model.eval()


def relative_error(got, right):
    got, right = got.double(), right.detach().double()
    return float((got - right).norm() / right.norm())


class Residual(nn.Module):
    """A stem, two residual blocks, one of them with a convolution beside, pools, and a classifier."""

    def __init__(self, p=4):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv1, self.norm1 = HetConv2d(32, 32, 3, padding=1, p=p, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.norm2 = HetConv2d(32, 32, 3, padding=1, p=p, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.norm3 = HetConv2d(32, 64, 3, stride=2, padding=1, p=p), nn.BatchNorm2d(64)
        self.beside, self.norm4 = nn.Conv2d(32, 64, 1, stride=2), nn.BatchNorm2d(64)
        self.hidden, self.classifier = nn.Linear(64, 48), nn.Linear(48, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.norm(self.stem(x))), 3, 2, 1)
        x = functional.relu(self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x))))) + x)
        x = functional.relu(self.norm3(self.conv3(x)) + self.norm4(self.beside(x)))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.classifier(functional.relu(self.hidden(x))) * 0.5 - 1


class Branches(nn.Module):
    """Concatenation of branches, average pooling, relu6, an output that is images."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.a, self.b, self.last = nn.Conv2d(24, 40, 1), HetConv2d(24, 20, 3, padding=1, p=4), nn.Conv2d(84, 12, 3)

    def forward(self, x):
        x = functional.relu6(self.stem(x))
        x = torch.cat([functional.relu(self.a(x)), self.b(x), functional.avg_pool2d(x, 3, 1, 1)], 1)
        return self.last(x)


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    return with_statistics(Residual(), calibration())


def test_a_residual_network_runs_wholly_in_8_bits(residual):
    made = deploy(residual, calibration(2), "int8", calibration())
    images = torch.randn(5, 3, 16, 16)
    assert relative_error(made(images), residual(images)) < 0.05  # rounding to 8 bits in six layers
    report = made.report.int8
    assert [entry.name for entry in report.in_float32] == ["linear_1"]
    assert {entry.runs_on for entry in made.report.convolutions} == {"int8"}
    assert made.report.count("residual") == 2
    assert "biases corrected" in str(made.report)


def test_the_first_layer_is_of_8_bits_where_that_costs_little():
    def chosen(*errors, first):
        rest = [Int8Choice(str(number), True, False, error) for number, error in enumerate(errors)]
        return Int8Choice.best([*rest, Int8Choice("0", True, True, first)])

    assert not chosen(0.03, 0.02, first=0.0221).first_layer  # more than a tenth
    assert chosen(0.03, 0.02, first=0.0219).first_layer
    assert chosen(0.003, 0.002, first=0.0099).first_layer  # small anyhow
    assert not chosen(0.003, 0.002, first=0.0101).first_layer
    assert chosen(math.nan, 0.02, first=math.nan) == Int8Choice("1", True, False, 0.02)


def test_a_first_layer_that_8_bits_would_cost_accuracy_stays_float32(residual, monkeypatch):
    monkeypatch.setattr("hetconv.deployment.deploy_report.SMALL_ERROR", 0.0)
    monkeypatch.setattr("hetconv.deployment.deploy_report.HARMLESS", 0.0)
    report = deploy(residual, calibration(2), "int8", calibration()).report
    assert [entry.name for entry in report.int8.in_float32] == ["stem", "linear_1"]
    assert {entry.runs_on for entry in report.convolutions} == {"native", "int8"}


def test_takes_any_batch_and_image_size(residual):
    made = deploy(residual, calibration(2), "int8", calibration())
    for shape in ((1, 3, 16, 16), (3, 3, 20, 12), (1, 3, 16, 16)):
        images = torch.randn(shape)
        assert relative_error(made(images), residual(images)) < 0.1


def test_branches_and_pools():
    torch.manual_seed(0)
    model = Branches().eval()
    made = deploy(model, calibration(2), "int8", calibration())
    images = torch.randn(3, 3, 16, 16)
    assert made(images).shape == model(images).shape
    assert relative_error(made(images), model(images)) < 0.05
    kinds = [step.kind for step in made.network.steps]
    assert "concatenate" in kinds
    assert "dequantize" not in kinds


@pytest.mark.parametrize(
    ("name", "variant"), [("vgg16_cifar", "het-p4"), ("resnet20_cifar", "het-p4"), ("vgg16_cifar", "dense")]
)
def test_own_networks(name, variant):
    torch.manual_seed(0)
    images = calibration(size=32)
    model = with_statistics(create_model(name, variant, width=0.25), images)
    made = deploy(model, images[:1], "int8", images)
    assert relative_error(made(images), model(images)) < 0.25  # untrained: deep, and its outputs nearly alike
    assert all(entry.runs_on == "int8" for entry in made.report.convolutions[1:])


def test_every_instruction_set_gives_the_same_bits(residual, tmp_path):
    images, results = torch.randn(3, 3, 16, 16), []
    best = native.instruction_set()
    made = deploy(residual, calibration(2), "int8", calibration())
    made.save(tmp_path / "a")
    for name in get_args(native.Int8InstructionSet):
        try:
            native.choose_instruction_set(name)
        except UsageError:
            continue
        try:
            results.append(load_deployed(tmp_path / "a")(images))  # packs for this instruction set
            if name != best:
                for copied in (copy.deepcopy, pickle.dumps):
                    with pytest.raises(UsageError, match=r"instruction set|not packed for"):
                        copied(made)
        finally:
            native.choose_instruction_set(best)
    # the float32 stem rounds differently, so u8 values may: one level at most, and few
    for result in results[1:]:
        assert relative_error(result, results[0]) < 0.02


def test_copies_compute_the_same(residual):
    made, images = deploy(residual, calibration(2), "int8", calibration()), torch.randn(3, 3, 16, 16)
    for copied in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), copy.copy(made)):
        assert torch.equal(copied(images), made(images))
        assert copied.report == made.report


def test_saved_and_loaded_bit_by_bit(residual, tmp_path):
    made = deploy(residual, calibration(2), "int8", calibration())
    made.save(tmp_path / "int8.safetensors")
    loaded = load_deployed(tmp_path / "int8.safetensors")
    images = torch.randn(5, 3, 16, 16)
    assert torch.equal(loaded(images), made(images))
    assert loaded.report == made.report


def test_accuracy_is_told(residual):
    images = calibration()
    with torch.no_grad():
        labels = residual(images).argmax(1)
    made = deploy(residual, images[:1], "int8", images, [(images[:30], labels[:30]), (images[30:], labels[30:])])
    accuracy = made.report.int8.accuracy
    with torch.no_grad():
        right = float((made(images).argmax(1) == labels).double().mean())
    assert (accuracy.images, accuracy.float32, accuracy.int8, accuracy.agreement) == (48, 1.0, right, right)
    assert "accuracy on 48 images: 100.00% in float32" in str(made.report)


def test_calibration_images_must_fit(residual):
    example = calibration(1)
    cases = [
        (None, "needs calibration=images"),
        ([1, 2], r"calibration=list must be images"),
        (torch.zeros(4, 3, 16), "must be images"),
        (torch.zeros(0, 3, 16, 16), "n ≥ 1 of the example's size"),
        (torch.zeros(4, 1, 16, 16), r"n ≥ 1 of the example's size \(3, 16, 16\)"),
        (torch.zeros(4, 3, 8, 8), "of the example's size"),
        (torch.full((4, 3, 16, 16), math.nan), "calibration has NaN"),
    ]
    for images, message in cases:
        with pytest.raises(UsageError, match=message):
            deploy(residual, example, "int8", images)
    with pytest.raises(UsageError, match="precision='int4' must be one of float32, int8"):
        deploy(residual, example, "int4")
    with pytest.raises(UsageError, match="for precision='int8'"):
        deploy(residual, example, calibration=calibration())


def conv_pair(weight=None):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    if weight is not None:
        with torch.no_grad():
            model[0].weight.fill_(weight)
            model[0].bias.fill_(weight)
    return model


def test_values_that_are_not_finite_or_explode():
    with pytest.raises(UsageError, match="NaN or infinite on the calibration images"):
        deploy(conv_pair(math.inf), calibration(1), "int8", calibration())
    with pytest.raises(UsageError, match="too large to scale"):
        deploy(conv_pair(1e35), calibration(1).abs(), "int8", calibration().abs())


def test_constant_values_are_told():
    made = deploy(conv_pair(0.0), calibration(1), "int8", calibration())
    assert any("constant on the calibration images" in note for note in made.report.int8.notes)
    with torch.no_grad():
        torch.testing.assert_close(made(calibration(2)), conv_pair_output(made, calibration(2)))


def conv_pair_output(made, images):
    """Of zeros: the second layer's bias."""
    size = images.shape[2] - 4
    return made(torch.zeros_like(images)).expand(-1, -1, size, size)


class Cumulative(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return functional.relu(self.conv(x)).cumsum(2)


def test_what_it_does_not_compute_is_named():
    grouped = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)).eval()
    for model, reason in ((grouped, "no layer of it has a form"), (Cumulative().eval(), "cumsum is no operation")):
        with pytest.raises(UsageError, match=f"does not run in 8 bits: .*{reason}.*; precision='float32' does"):
            deploy(model, calibration(1), "int8", calibration())


class Mixed(nn.Module):
    """Layers and operations without a form of 8 bits between those that have one."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 16, 2, 2), nn.Conv2d(16, 40, 1)
        self.depthwise, self.narrow = nn.Conv2d(40, 40, 3, padding=1, groups=40), nn.Conv2d(40, 24, 1)
        self.norm, self.grouped, self.last = nn.BatchNorm2d(24), nn.Conv2d(24, 24, 3, groups=4), nn.Conv2d(48, 12, 1)

    def forward(self, x):
        x = functional.relu6(self.depthwise(functional.relu6(self.wide(functional.gelu(self.stem(x))))))
        x = self.norm(functional.max_pool2d(self.narrow(x), 3, 2))
        a, b = functional.silu(self.grouped(functional.pad(x, (1, 1, 1, 1)))).chunk(2, 1)
        return self.last(torch.cat([a * 2, x, b + x.mean((2, 3), keepdim=True)[:, :12]], 1))


def test_what_has_no_form_of_8_bits_stays_float32(tmp_path):
    torch.manual_seed(0)
    model = with_statistics(Mixed(), calibration())
    made = deploy(model, calibration(2), "int8", calibration())
    images = torch.randn(3, 3, 20, 16)
    assert relative_error(made(images), model(images)) < 0.05  # rounding to 8 bits three times
    in_float32 = {entry.name: entry.reason for entry in made.report.int8.in_float32}
    assert re.match("kernel_size=.2, 2. is even", in_float32["stem"])
    assert in_float32["depthwise"].startswith("depthwise")
    assert in_float32["grouped"].startswith("grouped")
    assert "chunk" not in in_float32  # of what is float32 already
    runs_on = {entry.name: entry.runs_on for entry in made.report.convolutions}
    assert runs_on == {
        "stem": "native", "wide": "int8", "depthwise": "native", "narrow": "int8", "grouped": "native", "last": "int8"
    }  # fmt: skip
    kinds = [step.kind for step in made.network.steps]
    assert kinds[-1] == "int8_convolution"  # gives float32 itself, as the one that the depthwise layer reads does
    assert "dequantize" not in kinds[: kinds.index("grouped_convolution", 1)]
    made.save(tmp_path / "mixed")
    assert torch.equal(load_deployed(tmp_path / "mixed")(images), made(images))


class Excited(nn.Module):
    """Activations that the kernels of 8 bits do not have, and the product of squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 24, 3, padding=1), HetConv2d(24, 24, 3, padding=1, p=4)
        self.squeeze, self.excite, self.last = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 24, 1), nn.Conv2d(24, 12, 3)

    def forward(self, x):
        x = functional.gelu(self.conv(functional.silu(self.stem(x))))
        gate = functional.hardsigmoid(self.excite(functional.hardswish(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = functional.leaky_relu(x * gate * 2 + 0.5, 0.3)
        x = 1 - x * x
        return self.last(x + x)


def test_activations_by_table_and_products(tmp_path):
    torch.manual_seed(0)
    model = Excited().eval()
    made = deploy(model, calibration(2), "int8", calibration())
    kinds = [step.kind for step in made.network.steps]
    assert kinds.count("table") == 10
    assert kinds.count("product") == 1
    images = torch.randn(3, 3, 16, 16)
    assert relative_error(made(images), model(images)) < 0.05  # rounding to 8 bits ten times
    made.save(tmp_path / "excited")
    assert torch.equal(load_deployed(tmp_path / "excited")(images), made(images))


def conv(in_channels, out_channels, p=4):
    return nn.Sequential(HetConv2d(in_channels, out_channels, 3, padding=1, p=p), nn.ReLU())


class Segmentation(nn.Module):
    """A small U-Net: images made smaller, made larger again in several ways, and joined with those of before."""

    def __init__(self, up):
        super().__init__()
        self.first, self.down, self.bottom = nn.Conv2d(3, 16, 3, padding=1), conv(16, 32), conv(32, 32)
        self.up, self.late, self.last = up, conv(64, 16), nn.Conv2d(32, 5, 1)

    def forward(self, x):
        full = functional.relu(self.first(x))
        half = self.down(functional.max_pool2d(full, 2))
        quarter = self.bottom(functional.max_pool2d(half, 2))
        y = self.late(torch.cat([half, functional.interpolate(quarter, size=half.shape[-2:])], 1))
        y = self.last(torch.cat([full, self.up(y)], 1))
        return functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)


class Widened(nn.Module):
    """Channels taken and concatenated, and zeros after them."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide, self.last = nn.Conv2d(3, 70, 3, padding=1), nn.Conv2d(70, 33, 1), nn.Conv2d(90, 8, 1)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        wide = functional.relu(self.wide(x))
        taken = functional.pad(functional.max_pool2d(wide, 2)[:, :10], (0, 0, 0, 0, 0, 14))
        joined = functional.max_pool2d(torch.cat([wide, wide], 1), 2)
        return self.last(torch.cat([taken, joined], 1))


def test_channels_of_zeros_after_others():
    torch.manual_seed(0)
    model = Widened().eval()
    made = deploy(model, calibration(2), "int8", calibration(), timed=False)
    assert relative_error(made(calibration(2)), model(calibration(2))) < 0.05


UPSAMPLING = {
    "nearest": nn.Upsample(scale_factor=2),
    "nearest-exact": nn.Upsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
    "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "corners aligned": nn.UpsamplingBilinear2d(scale_factor=2),
}


@pytest.mark.parametrize("up", UPSAMPLING.values(), ids=UPSAMPLING)
def test_a_segmentation_network_stays_in_8_bits(tmp_path, up):
    torch.manual_seed(0)
    model = Segmentation(up).eval()
    made = deploy(model, calibration(2), "int8", calibration(), timed=False)
    assert not made.report.int8.in_float32 or {entry.name for entry in made.report.int8.in_float32} == {"first"}
    kinds = [step.kind for step in made.network.steps]
    assert kinds.count("resize") == 3
    assert "dequantize" not in kinds  # the last layer gives float32 to the last resizing
    for shape in ((3, 3, 16, 16), (1, 3, 20, 28)):
        images = torch.randn(shape)
        assert relative_error(made(images), model(images)) < 0.05  # rounding to 8 bits in five layers
    made.save(tmp_path / "segmentation")
    assert torch.equal(load_deployed(tmp_path / "segmentation")(images), made(images))


class Joined(nn.Module):
    """Functions of two values, some of them without a form of 8 bits; operands by keyword."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b, self.last = (
            nn.Conv2d(3, 16, 1),
            nn.Conv2d(16, 24, 1),
            nn.Conv2d(16, 24, 1),
            conv(24, 8),
        )

    def forward(self, x):
        x = torch.sigmoid(input=self.stem(input=x))
        a, b = self.a(x), self.b(x)
        x = torch.sub(input=a, other=b)
        x = torch.maximum(torch.minimum(x, other=a), b) + a.sub(other=x) / (2 + torch.sigmoid(b))
        return self.last(x)


def test_functions_of_two_values_have_8_bits_or_float32():
    torch.manual_seed(0)
    model = Joined().eval()
    made = deploy(model, calibration(2), "int8", calibration(), timed=False)
    in_float32 = {entry.name for entry in made.report.int8.in_float32} - {"stem"}
    assert in_float32 == {"minimum", "maximum", "truediv"}
    images = torch.randn(3, 3, 16, 16)
    assert relative_error(made(images), model(images)) < 0.1  # differences are smaller than what is rounded


class Shuffled(nn.Module):
    """A block of ShuffleNet and one of ConvNeXt."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch, self.wide = nn.Conv2d(3, 20, 3, padding=1), nn.Conv2d(10, 10, 1), nn.Conv2d(20, 20, 1)
        self.norm, self.up, self.down = nn.LayerNorm(20), nn.Linear(20, 40), nn.Linear(40, 20)
        self.scale, self.last = nn.Parameter(torch.rand(20, 1, 1)), nn.Conv2d(20, 8, 1)

    def forward(self, x):
        first, other = functional.relu(self.stem(x)).chunk(2, dim=1)
        x = torch.cat([first, functional.relu(self.branch(other))], 1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)
        x = functional.channel_shuffle(self.wide(x), 4)
        y = self.down(functional.gelu(self.up(self.norm(x.permute(0, 2, 3, 1)))))
        return self.last(x + self.scale * y.permute(0, 3, 1, 2))


def test_channels_in_another_order_and_as_the_last_dimension(tmp_path):
    torch.manual_seed(0)
    model = Shuffled().eval()
    made = deploy(model, calibration(2), "int8", calibration(), timed=False)
    assert {entry.name for entry in made.report.int8.in_float32} - {"stem"} == {"layer_norm", "mul"}
    assert {entry.name: entry.runs_on for entry in made.report.convolutions}["up"] == "int8"
    images = torch.randn(3, 3, 20, 16)
    assert relative_error(made(images), model(images)) < 0.05  # rounding to 8 bits in six layers
    made.save(tmp_path / "shuffled")
    assert torch.equal(load_deployed(tmp_path / "shuffled")(images), made(images))


@pytest.mark.parametrize(
    ("resized", "reason"),
    [
        (lambda x: functional.interpolate(x, scale_factor=2, mode="bicubic"), "resizing by bicubic is no operation"),
        (lambda x: functional.interpolate(x, scale_factor=0.7), "resizing by 0.7, which is no number of float32,"),
        (lambda x: functional.interpolate(x, size=(2 * x.shape[2], 9)), "an image's size"),
        (lambda x: x.permute(0, 3, 1, 2), "it puts the dimensions in the order"),
        (lambda x: x.permute(0, 2, 3, 1), "its channels are the last dimension"),
        (lambda x: x.permute(0, 2, 3, 1).mean((1, 2)), "mean of channels that are the last dimension"),
        (lambda x: torch.max(x, 1, keepdim=True)[0], "alone"),
    ],
)
def test_what_is_no_resizing_or_order_is_named(resized, reason):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x):
            return resized(functional.relu(self.conv(x)))

    with pytest.raises(UsageError, match=f"does not run in 8 bits: .*{reason}"):
        deploy(Model().eval(), calibration(1), "int8", calibration(), timed=False)


def test_too_large_an_error_is_no_result(monkeypatch):
    monkeypatch.setattr("hetconv.deployment.int8.build.LARGEST_ERROR", 0.0)
    with pytest.raises(HetconvError, match="8 bits change the outputs"):
        deploy(conv_pair(), calibration(1), "int8", calibration())


def test_least_squares_clips_outliers():
    """2,000 values up to 1 and one of 100: the whole range would round all of the first ones to three levels."""
    histogram = torch.zeros(ranges.BINS, dtype=torch.float64)
    histogram[: ranges.BINS // 100] = 1e5
    histogram[-1] = 1
    low, high = ranges.least_squares(Observed(0.0, 100.0, histogram, torch.zeros(1)))
    assert low == 0
    assert high < 50


def test_ranges_hold_zero_exactly():
    for low, high in ((0.0, 3.0), (-1.0, 2.0), (1.0, 2.0), (-3.0, -1.0), (0.0, 0.0)):
        of = affine_of(low, high)
        assert 0 <= of.zero <= 255
        assert (0 - of.zero) * of.scale <= min(low, 0) + of.scale
        assert (255 - of.zero) * of.scale >= max(high, 0) - of.scale


class Squared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1), nn.Linear(16, 4)

    def forward(self, x):
        x = self.second(torch.round(self.first(x) * 4) / 4)
        return self.last((x**2).mean((2, 3)))


def test_powers_and_rounding_are_looked_up():
    torch.manual_seed(0)
    model, images = Squared().eval(), torch.randn(3, 3, 8, 8)
    made = deploy(model, calibration(2), "int8", calibration())
    assert relative_error(made(images), model(images)) < 0.1  # a number near a half may round the other way
