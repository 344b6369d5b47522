"""Whole networks with random weights and statistics, in float64."""

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from hetconv import HetConv2d, convert_, relayout
from hetconv.lab.models import create_model

OWN = [("vgg16_cifar", "het-p4"), ("vgg16_cifar", "het-p4-se"), ("vgg16_cifar", "het-pc"), ("mobilenet_v1", "het-p8")]
CONVERTED = {
    "resnet18": 64, "resnet34": 64, "resnet50": 64, "densenet121": 64, "googlenet": 64, "squeezenet1_1": 64,
    "efficientnet_v2_s": 64, "inception_v3": 80,
}  # fmt: skip


def randomized(model):
    for module in model.double().eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return model


def check(model, size, gather=False):
    randomized(model)
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x)
        moved = relayout(model, "blocked", gather=gather)
        error = (moved(x) - expected).abs().max() / expected.abs().max()
    assert error < 1e-12  # rounding of sums in another order: some 1e-16 a layer
    layers = [module for module in moved.modules() if isinstance(module, HetConv2d)]
    assert layers
    assert {layer.arrangement for layer in layers} == {"blocked"}
    return moved


@pytest.mark.parametrize(("name", "variant"), OWN)
def test_own(name, variant):
    check(create_model(name, variant, width=0.25), 32)


@pytest.mark.parametrize("name", CONVERTED)
def test_torchvision(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = getattr(models, name)(num_classes=10, **options)
    convert_(model, 4)
    check(model, CONVERTED[name], gather=name == "inception_v3")


@pytest.mark.parametrize("name", ["cspresnet50", "repvgg_a0", "seresnet18", "resnet14t"])
def test_timm(name):
    model = timm.create_model(name, num_classes=10)
    convert_(model, 4)
    check(model, 64)


def test_layers_of_several_p():
    model = models.resnet18(num_classes=10)
    convert_(model, 4, p_by_name={"layer1.*": 8, "layer3.0.*": 2, "layer4.*": 16})
    check(model, 64)
