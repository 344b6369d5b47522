"""Conversion of models as people have them: every kind in torchvision, and timm's own layers."""

import pytest
import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models import detection, segmentation

from hetconv import HetConv2d
from hetconv.convert import convert_

CONVOLUTIONS = nn.modules.conv._ConvNd


def check(model, *args):
    """Convert, run, and compare the report with the model; returns the report and the output."""
    model.eval()
    expected = [name for name, module in model.named_modules() if isinstance(module, CONVOLUTIONS)]
    report = convert_(model)
    converted = [entry.name for entry in report.converted]
    assert sorted(converted + [entry.name for entry in report.skipped]) == sorted(expected)
    assert [name for name, module in model.named_modules() if isinstance(module, HetConv2d)] == converted
    assert all(entry.reason for entry in report.converted + report.skipped)
    with torch.no_grad():
        return report, model(*args)


def kinds(report):
    return {entry.reason.split(":")[0].split(" ")[0] for entry in report.skipped}


CLASSIFIERS = {
    "resnet18": (models.resnet18, 64, 16),
    "vgg11_bn": (lambda: models.vgg11_bn(init_weights=False), 32, 7),
    "mobilenet_v2": (models.mobilenet_v2, 32, 0),
    "densenet121": (models.densenet121, 32, 58),
    "googlenet": (lambda: models.googlenet(init_weights=False), 64, 19),
    "inception_v3": (lambda: models.inception_v3(init_weights=False), 80, 54),
    "efficientnet_b0": (models.efficientnet_b0, 32, 0),
    "efficientnet_v2_s": (models.efficientnet_v2_s, 32, 10),
    "regnet_y_400mf": (models.regnet_y_400mf, 32, 0),
    "convnext_tiny": (models.convnext_tiny, 32, 0),
    "squeezenet1_1": (models.squeezenet1_1, 64, 8),
    "shufflenet_v2_x0_5": (models.shufflenet_v2_x0_5, 32, 0),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_torchvision_classification(name):
    build, size, count = CLASSIFIERS[name]
    report, output = check(build(), torch.randn(1, 3, size, size))
    assert output.shape == (1, 1000)
    assert len(report.converted) == count


def test_resnet50_converts_its_sixteen_3x3():
    """The sixteen that the published 2.857 G of ResNet-50 P4 count."""
    report, _ = check(models.resnet50(), torch.randn(1, 3, 64, 64))
    assert [entry.name for entry in report.converted] == [
        f"layer{stage}.{block}.conv2" for stage, blocks in ((1, 3), (2, 4), (3, 6), (4, 3)) for block in range(blocks)
    ]
    assert kinds(report) == {"stem", "1×1"}


DETECTORS = {
    "fasterrcnn_resnet50_fpn": (detection.fasterrcnn_resnet50_fpn, {"min_size": 64, "max_size": 64}, 64, 21),
    "retinanet_resnet50_fpn": (detection.retinanet_resnet50_fpn, {"min_size": 64, "max_size": 64}, 64, 30),
    "ssdlite320_mobilenet_v3_large": (detection.ssdlite320_mobilenet_v3_large, {}, 320, 0),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_torchvision_detection(name):
    build, options, size, count = DETECTORS[name]
    model = build(weights=None, weights_backbone=None, **options)
    report, output = check(model, [torch.rand(3, size, size)])
    assert set(output[0]) == {"boxes", "labels", "scores"}
    assert len(report.converted) == count


class Weightless(nn.Linear):
    """For VGG's classifier, which SSD drops: its hundred million weights take seconds to draw."""

    def __init__(self, *sizes):
        super().__init__(*sizes, device="meta")


def test_ssd300_takes_smaller_p_in_its_heads(monkeypatch):
    monkeypatch.setattr(nn, "Linear", Weightless)
    report, output = check(detection.ssd300_vgg16(weights=None, weights_backbone=None), [torch.rand(3, 300, 300)])
    assert set(output[0]) == {"boxes", "labels", "scores"}
    assert {(e.p, e.requested_p) for e in report.converted} == {(4, 4), (2, 4)}
    smaller = [e for e in report.converted if e.p == 2]
    assert all(e.reason.startswith("p=2, the largest up to 4 that divides in_channels=") for e in smaller)


@pytest.mark.parametrize(
    ("name", "count"), [("fcn_resnet50", 17), ("deeplabv3_resnet50", 20), ("lraspp_mobilenet_v3_large", 0)]
)
def test_torchvision_segmentation(name, count):
    model = getattr(segmentation, name)(weights=None, weights_backbone=None)
    report, output = check(model, torch.randn(1, 3, 64, 64))
    assert output["out"].shape == (1, 21, 64, 64)
    assert len(report.converted) == count


def test_video_models_are_skipped_and_reported():
    report, output = check(models.video.r3d_18(), torch.randn(1, 3, 2, 16, 16))
    assert output.shape == (1, 400)
    assert report.converted == ()
    assert {entry.reason for entry in report.skipped} == {
        "3-d (Conv3DSimple); HetConv is 2-d",
        "3-d (Conv3d); HetConv is 2-d",
    }


def test_detector_trains_after_conversion():
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, min_size=64)
    convert_(model)
    target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    losses = model([torch.rand(3, 64, 64)], [target])
    sum(losses.values()).backward()
    layers = [module for module in model.modules() if isinstance(module, HetConv2d)]
    assert len(layers) == 3
    assert all(layer.weight_spatial.grad.isfinite().all() for layer in layers)


def test_classifier_trains_after_conversion():
    model = models.resnet18(num_classes=3)
    convert_(model, 8)
    model(torch.randn(2, 3, 32, 32)).square().mean().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []


TIMM = {
    "resnet26": (8, {"stem", "1×1"}),
    "tf_efficientnetv2_b0": (3, {"timm.layers.conv2d_same.Conv2dSame", "1×1", "depthwise"}),
    "resnetv2_50x1_bit": (0, {"timm.layers.std_conv.StdConv2d", "1×1"}),
    "nf_resnet26": (0, {"timm.layers.std_conv.ScaledStdConv2d"}),
    "res2net50_26w_4s": (48, {"stem", "1×1"}),
    "hrnet_w18_small": (64, {"stem", "1×1"}),
    "pvt_v2_b0": (3, {"stem", "depthwise", "kernel_size=(2,", "kernel_size=(4,", "kernel_size=(8,"}),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    count, reasons = TIMM[name]
    report, output = check(timm.create_model(name, num_classes=10), torch.randn(1, 3, 64, 64))
    assert output.shape == (1, 10)
    assert len(report.converted) == count
    assert kinds(report) == reasons
