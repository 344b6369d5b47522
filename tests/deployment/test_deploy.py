"""Whole networks: same results, an untouched original, and one clear line for what cannot be deployed."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2, resnet18

from hetconv import convert_, deploy, pack
from hetconv.errors import HetconvError, UsageError
from hetconv.graph import equality
from hetconv.lab import create_model
from hetconv.ops import native

from .networks import Block, Written, calls, choose_native, exact, het, images


def trained(model):
    """Random statistics and scales, so that folding shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            for values in (module.running_mean, module.bias):
                nn.init.normal_(values, 0, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def converted(model, p):
    convert_(model, p)
    return model


NETWORKS = {
    "vgg16_cifar het-p4": lambda: create_model("vgg16_cifar", "het-p4", width=0.25),
    "vgg16_cifar dense": lambda: create_model("vgg16_cifar", width=0.125),
    "resnet20_cifar het-p8": lambda: create_model("resnet20_cifar", "het-p8"),
    "resnet20_cifar het-p4-se": lambda: create_model("resnet20_cifar", "het-p4-se"),
    "resnet20_cifar dwc-pwc": lambda: create_model("resnet20_cifar", "dwc-pwc", width=0.5),
    "mobilenet_v1 het-p2": lambda: create_model("mobilenet_v1", "het-p2", width=0.25),
    "resnet18 P4": lambda: converted(resnet18(), 4),
    "mobilenet_v2": mobilenet_v2,
}


MEASURED = "vgg16_cifar dense"
"""Its kernels are chosen by measuring; standard convolutions of the others all run on the native ones."""


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_original_on_other_batches_and_sizes(name, monkeypatch):
    if name != MEASURED:
        choose_native(monkeypatch, native=True)
    model = trained(NETWORKS[name]())
    deployed = deploy(model, torch.randn(1, 3, 64, 64))
    report = deployed.report
    assert report.whole
    assert not report.norms
    model = copy.deepcopy(model).eval()
    exact_model = copy.deepcopy(model).double()
    with torch.no_grad():
        for shape in ((1, 3, 64, 64), (3, 3, 64, 64), (2, 3, 64, 96)):
            x = torch.randn(shape)
            right, got = exact_model(x.double()), deployed(x)
            # the budget of hetconv.graph.equality
            allowed = equality.FACTOR * (model(x) - right).norm() + equality.FLOOR * right.norm()
            assert (got - right).norm() <= allowed


def test_resnet_blocks_of_a_converted_torchvision_network(monkeypatch):
    choose_native(monkeypatch, native=True)
    deployed = deploy(trained(converted(resnet18(), 4)), torch.randn(1, 3, 64, 64))
    report = deployed.report
    assert (report.count("batch norm"), report.count("residual"), report.count("relu")) == (20, 8, 17)
    assert "joined: batch norm 20, relu 17, residual 8" in str(report)
    assert "layer2.0.downsample.0" in str(report)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_the_original_is_left_as_it_is(training):
    model = Block().train(training)
    handle = model.conv1.register_forward_hook(lambda *_: None)
    before, modes = state(model), {name: module.training for name, module in model.named_modules()}
    deployed = deploy(model, images())
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(model.conv1._forward_hooks) == [handle.id]
    assert not model.bn1._forward_pre_hooks
    assert all(parameter.requires_grad for parameter in model.parameters())
    x = images()
    right = deployed(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.equal(deployed(x), right)


def test_stays_in_evaluation_mode_and_on_the_cpu():
    model, x = exact(Block()), images()
    deployed = deploy(model, x)
    right = deployed(x)
    assert not deployed.train().training
    assert torch.equal(deployed.to(memory_format=torch.contiguous_format)(x), right)
    assert torch.equal(copy.deepcopy(deployed)(x), right)
    assert deployed.state_dict() == {}
    with pytest.raises(UsageError, match=r"^a deployed network stays float32 on the CPU, not torch.float64 on cpu"):
        deployed.double()
    assert torch.equal(deployed(x), right)


def test_what_a_deployed_network_does_not_take():
    deployed = deploy(exact(Block()), images())
    for wrong, what in (
        (images(channels=3), "input 0 is float32 of shape (2, 3, 6, 5)"),
        (images().double(), "input 0 is float64 of shape (2, 4, 6, 5)"),
        (images()[0], "input 0 is float32 of shape (4, 6, 5)"),
    ):
        want = "this deployed module was made for float32 of shape (batch, 4, height, width)"
        with pytest.raises(UsageError, match=f"^{re.escape(f'{what}; {want}')}$"):
            deployed(wrong)
    with pytest.raises(UsageError, match=r"^the arguments are others than at deployment; this deployed module was"):
        deployed(images(), images())
    with pytest.raises(UsageError, match=r"^a deployed module has no gradients; call it under torch.no_grad\(\)"):
        deployed(images().requires_grad_())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert deployed(images().requires_grad_()).dtype == torch.float32


class Uncopied(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = het()

    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


REFUSED = {
    "no module": (lambda x: x, images(), "model is a function; it must be an nn.Module"),
    "float64": (
        Block().double(),
        images().double(),
        "model's conv1.weight_spatial is torch.float64 on cpu; deploy wants",
    ),
    "example's type": (Block(), images().double(), "example is torch.float64 on cpu; deploy wants float32 on the CPU"),
    "example's kind": (Block(), [1], "example is a list; it must be a tensor, or the tuple of all arguments"),
    "example's shape": (Block(), images(channels=3), "the model does not take the example of shape (2, 3, 6, 5): "),
    "lazy": (
        nn.Sequential(nn.LazyConv2d(4, 3)),
        images(),
        "model's 0.weight is lazy: its size is unknown until a first",
    ),
    "no convolution": (
        nn.Sequential(nn.ReLU()),
        images(),
        "nothing of Sequential can be deployed: it has no convolution",
    ),
    "packed": (nn.Sequential(pack(het())), images(), "nothing of Sequential can be deployed: it has no"),
    "uncopied": (Uncopied(), images(), "Uncopied cannot be copied: RuntimeError: no copies"),
}


@pytest.mark.parametrize(("model", "example", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_one_line_and_leave_the_model(model, example, message):
    before = state(model) if isinstance(model, nn.Module) and "lazy" not in message else {}
    with pytest.raises(UsageError) as raised:
        deploy(model, example)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_missing_kernels_are_said(monkeypatch):
    monkeypatch.setattr(native, "why_not_loaded", lambda: "the native kernels were not built: no compiler")
    with pytest.raises(UsageError, match=r"^deploy needs the native kernels: the native kernels were not built"):
        deploy(Block(), images())


def test_an_output_that_is_not_finite_is_said():
    model = exact(Block())
    with torch.no_grad():
        model.bn2.bias.fill_(float("nan"))
    with pytest.raises(HetconvError, match=r"^the network gives an output that is not finite on the example"):
        deploy(model, images())


def test_a_wrong_result_is_not_deployed(monkeypatch):
    """The check sees what a wrong fold would do."""
    monkeypatch.setattr(equality, "FACTOR", 0.0)
    monkeypatch.setattr(equality, "FLOOR", 0.0)
    with pytest.raises(
        HetconvError, match=r"^the network, deployed, is off by .* of the original in float64 for a batch"
    ):
        deploy(trained(create_model("resnet20_cifar", "het-p4", width=0.25)), torch.randn(1, 3, 32, 32))


def test_a_model_that_does_not_run_in_float64_is_compared_with_itself():
    table = torch.eye(5)  # float32 in the model's code
    model = exact(Written(lambda x, conv, norm: F.relu(norm(conv(x))) @ table))
    checks = deploy(model, images()).report.checks
    assert [checked.batch_size for checked in checks] == [2, 1]
    for checked in checks:
        assert (checked.reference, checked.error, checked.original_error) == ("the original in float32", 0.0, 0.0)


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = het(), het()

        def forward(self, x, more, scale=2):
            y = self.one(x) + more["right"]
            return {"y": y, "both": [self.other(y) * scale, (y.mean(), scale)]}

    model = exact(Two())
    example = (images(), {"right": images()})
    deployed = deploy(model, example)
    x, more = images(3), {"right": images(3)}
    with torch.no_grad():
        right, got = model(x, more), deployed(x, more)
    assert got["both"][1][1] == 2
    assert torch.equal(got["y"], right["y"])
    assert torch.equal(got["both"][0], right["both"][0])
    assert calls(deployed).count("het_conv2d_packed") == 2


def test_in_inference_mode_too():
    model = exact(Block())
    with torch.inference_mode():
        x = images()
        deployed = deploy(model, x)
        assert torch.equal(deployed(x), model(x))
    assert not any(buffer.is_inference() for buffer in deployed.buffers())


def test_one_image_without_a_batch_runs_as_it_did():
    model, x = exact(nn.Sequential(het(), nn.ReLU())), images()[0]
    deployed = deploy(model, x)
    assert deployed.report.convolutions[0].reason == "its input is no batch of images"
    assert torch.equal(deployed(x), model(x))


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_padding_modes(mode):
    model = exact(nn.Sequential(het(padding_mode=mode), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode)))
    deployed, x = deploy(model, images()), images(3)
    assert torch.equal(deployed(x), model(x))
