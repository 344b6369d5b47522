"""One layer at a time, on a small network: each probe against the network changed by hand."""

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from hetconv import complexity, convert_
from hetconv.errors import HetconvError, UsageError
from hetconv.lab.compress import L1, plan_probes, sensitivity
from hetconv.lab.compress.probes import Changed, HetProbes, ShareProbes, fingerprint
from hetconv.lab.models import create_model
from hetconv.lab.train import Data, load_data
from hetconv.lab.train.loop import evaluate
from hetconv.nn import HetConv2d

LAYERS = ("features.3.0", "features.10.0")
EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits", validation_images=60)


@pytest.fixture
def model() -> nn.Module:
    return create_model("vgg16_cifar", width=0.125)


def accuracy_and_loss(model: nn.Module, data: Data) -> tuple[float, float]:
    loss, accuracy = evaluate(Accelerator(), model, data.test_loader(500))
    return accuracy, loss


def test_each_probe_is_the_network_changed_by_hand(model: nn.Module, data: Data) -> None:
    before = fingerprint(model)
    found = sensitivity(model, data, parts=(4,), shares=(0.5,), layers=LAYERS)
    assert fingerprint(model) == before
    assert [(probe.layer, probe.kind, probe.value) for probe in found.probes] == [
        (name, kind, value) for name in LAYERS for kind, value in (("p", 4), ("share", 0.5))
    ]
    assert (found.images, found.skipped) == (60, ())
    assert (found.accuracy, found.loss) == accuracy_and_loss(copy.deepcopy(model), data)
    for probe in found.probes:
        other = copy.deepcopy(model)
        if probe.kind == "p":
            convert_(other, 4, include=probe.layer)
        else:
            other, _ = L1(0.5, {probe.layer: 0.5, "*": 0.0}).prune(model, EXAMPLE, 0)
        assert (probe.accuracy, probe.loss) == accuracy_and_loss(other, data)
        assert probe.macs == complexity(other, data.input_size).macs < found.macs


def test_how_much_of_the_layer_was_changed(model: nn.Module) -> None:
    """P=4 of an 8→8 3×3: three quarters of 64 kernels lose eight of nine taps. Half of 8 filters are 4."""
    assert model.get_submodule("features.1.0").weight.shape == (8, 8, 3, 3)
    changed = HetProbes(model).change("features.1.0", 4)
    assert (changed.changed, changed.of) == (48 * 8, 576)
    changed = ShareProbes(model, EXAMPLE).change("features.1.0", 0.5)
    assert (changed.changed, changed.of) == (4, 8)


def test_a_probe_that_changes_nothing_is_an_error(model: nn.Module, data: Data) -> None:
    """A convolution that is zero where P=4 has no kernels is what it was after the conversion."""
    layer = HetConv2d.from_dense(model.get_submodule("features.3.0"), 4)
    model.features[3][0] = layer.to_dense()
    with pytest.raises(HetconvError, match=r"P=4 in the place of features\.3\.0 changed none of its 1152 weights"):
        sensitivity(model, data, parts=(4,), shares=(), layers=("features.3.0",))
    with pytest.raises(HetconvError, match="changed none of its 8 filters"):
        Changed(model, "removing half of x", 0, 8, "filters")


def test_a_network_that_did_not_stay_as_it_was_is_an_error(model: nn.Module, data: Data) -> None:
    def meddle(_: object) -> None:
        with torch.no_grad():
            model.get_submodule("features.0.0").bias[0] += 1e-7

    with pytest.raises(HetconvError, match="not what it was"):
        sensitivity(model, data, parts=(4,), shares=(), layers=LAYERS[:1], told=meddle)


def test_the_mode_of_each_module_stays(model: nn.Module, data: Data) -> None:
    model.train()
    model.get_submodule("features.3").eval()
    before = fingerprint(model)
    sensitivity(model, data, parts=(2,), shares=(), layers=LAYERS[:1])
    assert fingerprint(model) == before
    assert model.training


def test_of_a_residual_network_what_cannot_be_tried_is_said(data: Data) -> None:
    model = create_model("resnet20_cifar", width=0.25)
    steps = {(step.layer, step.kind, step.value): step.reason for step in plan_probes(model, data, shares=(0.5,))}
    assert {layer for (layer, kind, _), reason in steps.items() if kind == "share" and reason is None} == {
        f"stages.{block}.conv1" for block in range(9)
    }
    assert steps["stages.0.conv2", "share", 0.5] == "they are padded with empty channels on the way"
    assert steps["stages.0.conv1", "p", 4] is None
    assert steps["stages.0.conv1", "p", 16].startswith("p=16 does not divide in_channels=4 and out_channels=4")


def test_filters_of_hetconv_layers_can_be_removed_too(data: Data) -> None:
    model = create_model("vgg16_cifar", "het-p4", width=0.125)
    found = sensitivity(model, data, parts=None, shares=(0.5,), layers=LAYERS[:1])
    assert [probe.kind for probe in found.probes] == ["share"]
    assert {skip.reason for skip in found.skipped} == {"already HetConv (p=4)"}


@pytest.mark.parametrize(("settings", "message"), [
    ({"layers": ("features.3.1x",)}, r"layers: 'features\.3\.1x' is no convolution of this network; nearest"),
    ({"layers": ("features.3.0", "features.3.0")}, "must name each only once"),
    ({"shares": (1.0,)}, r"share=1 must be above 0 and below 1"),
    ({"shares": (0.0,)}, r"share=0 must be above 0"),
    ({"parts": (3,)}, r"p=3 cannot be tried on features\.0\.0: .*divide"),
    ({"parts": (4,), "layers": ("features.0.0",)}, r"p=4 cannot be tried on features\.0\.0: .*in_channels=3"),
    ({"parts": (16,), "layers": LAYERS}, r"p=16 cannot be tried on features\.3\.0: p=16 does not divide"),
    ({"parts": (1,)}, r"p=1 must be at least 2"),
    ({"parts": (4, 4)}, r"parts='4,4' must name each only once"),
    ({"parts": (), "shares": ()}, "nothing to try"),
])  # fmt: skip
def test_wrong_settings(settings: dict[str, object], message: str, model: nn.Module, data: Data) -> None:
    with pytest.raises(UsageError, match=message):
        sensitivity(model, data, **({"shares": ()} | settings if "parts" in settings else settings))  # type: ignore


def test_a_layer_that_cannot_lose_filters(data: Data) -> None:
    model = create_model("resnet20_cifar", width=0.25)
    with pytest.raises(UsageError, match=r"share=0\.5 cannot be tried on stages\.0\.conv2: they are padded"):
        sensitivity(model, data, parts=(), shares=(0.5,), layers=("stages.0.conv2",))
