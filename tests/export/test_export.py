import re
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hetconv import HetConv2d, export_onnx
from hetconv.errors import HetconvError, UsageError
from hetconv.export import candidate, fastest_forms
from hetconv.lab.models.resnet import ResNetCifar
from hetconv.lab.models.variant_layers import Layers
from hetconv.lab.variant import parse_variant
from hetconv.runtimes import RUNTIMES, open_session, session, why_not

from .networks import image, randomized, small


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


MIXED = "mixed: dense 1, grouped 1"
ALONE = ({"grouped": 1.0, "sliced": 2.0, "dense": 1.1}, {"grouped": 1.2, "sliced": 2.0, "dense": 1.0})
WHOLE = {"grouped": 2.0, "dense": 3.0, MIXED: 1.0}
"""Times that are given in the place of measured ones, of the two layers alone and of the whole network."""


@dataclass(frozen=True)
class Exported:
    """What the small network became in each form, and what it was before, in training mode."""

    model: nn.Module
    reports: dict
    before: dict
    still_training: bool


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    model = small().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folder, alone = tmp_path_factory.mktemp("exported"), iter(ALONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastest_forms, "medians_in_turns", lambda timers, rounds: next(alone))
        patch.setattr(candidate, "medians_in_turns", lambda timers: {name: WHOLE[name] for name in timers})
        reports = {
            form: export_onnx(model, image(), folder / f"{form}.onnx", form)
            for form in ("grouped", "sliced", "dense", "auto")
        }
    return Exported(model, reports, before, model.training)


@pytest.mark.parametrize("form", ["grouped", "sliced", "dense", "auto"])
def test_files_compute_what_the_model_does_for_any_batch(exported, form):
    x = image(5)
    output = open_session("onnxruntime", exported.reports[form].path.read_bytes(), 1)(x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(output, exported.model.eval()(x).numpy(), rtol=1e-4, atol=1e-5)


def test_the_model_is_left_as_it_was(exported):
    assert exported.still_training
    assert all(torch.equal(tensor, exported.before[name]) for name, tensor in exported.model.state_dict().items())


def test_forms_are_standard_operators(exported):
    reports = exported.reports
    groups = [node.attribute for node in onnx.load(reports["grouped"].path).graph.node if node.op_type == "Conv"]
    assert len(groups) == 5  # the stem, and two convolutions a layer
    assert operators(reports["grouped"].path).count("Add") == 2
    assert operators(reports["sliced"].path).count("Concat") == 2
    assert operators(reports["dense"].path).count("Conv") == 3
    assert operators(reports["auto"].path).count("Conv") == 4  # the stem, two of the grouped layer, and the dense one
    for report in reports.values():
        assert "BatchNormalization" not in operators(report.path)


def test_files_tell_nothing_of_the_machine(exported):
    reports = exported.reports
    assert b"/hetconv/" not in reports["grouped"].path.read_bytes()


def test_report(exported):
    reports = exported.reports
    report = reports["auto"]
    assert report.form == MIXED
    assert report.timed_ms == WHOLE
    assert report.refused == {"sliced": "its layers alone take 1.9 times as long as the fastest form's"}
    assert [(layer.names, layer.form) for layer in report.layer_forms] == [(("3",), "grouped"), (("6",), "dense")]
    assert report.layers == ("3", "6")
    assert {check.batch_size for check in report.checked} == {1, 2, 3}
    assert {check.runtime for check in report.checked} | set(report.unchecked) == set(RUNTIMES)
    assert report.bytes == report.path.stat().st_size
    text = str(report)
    for word in ("opset", "any batch size", "batch norms folded: 2", "left: none", "channels gathered: none"):
        assert word in text
    assert re.search(r" 6 +het P4 16→8 3×3, stride 2, 8×8 +1\.200 +2\.000 +1\.000 +dense", text)
    assert "forms not taken: sliced: its layers alone" in text


def test_openvino_is_compared_where_it_is(exported):
    reason = why_not("openvino")
    if reason is not None:
        pytest.skip(reason)
    reports = exported.reports
    assert "openvino" in {check.runtime for check in reports["auto"].checked}


def test_networks_that_need_gathers(tmp_path):
    model = randomized(ResNetCifar(Layers(parse_variant("het-p4")), width=0.25, blocks=1))
    report = export_onnx(model, torch.randn(1, 3, 8, 8), tmp_path / "x.onnx", "grouped")
    assert "pad in stages.1" in report.gathers[0]
    assert operators(report.path).count("Gather") == 3  # four channels are in order as they are


class Branches(nn.Module):
    """torch.export takes it, torch.fx does not."""

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 1), HetConv2d(8, 8, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return self.block(x) if len(x.shape[1:]) == 3 and int(x.shape[1]) == 8 else x


def test_networks_that_torch_fx_cannot_capture_gather_around_every_layer(tmp_path):
    report = export_onnx(Branches().eval(), image(), tmp_path / "x.onnx", "sliced")
    assert "cannot be captured by torch.fx" in report.gathers[0]
    assert operators(report.path).count("Gather") == 2


def test_networks_without_het_layers(tmp_path):
    model = randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    report = export_onnx(model, image(), tmp_path / "x.onnx")
    assert report.form is None
    assert report.layers == ()
    assert operators(report.path) == ["Conv"]


class Reads(nn.Module):
    """What it computes depends on values: no exporter can capture it."""

    def __init__(self):
        super().__init__()
        self.layer = HetConv2d(3, 3, 3, padding=1, p=3)

    def forward(self, x):
        return self.layer(x) if float(x.sum()) > 0 else x


def test_networks_that_cannot_be_exported(tmp_path):
    model = Reads().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UsageError, match=r"^Reads cannot be exported by torch.onnx: ") as error:
        export_onnx(model, image(), tmp_path / "x.onnx", "grouped")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert isinstance(model.layer, HetConv2d)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Infinite(nn.Module):
    def forward(self, x):
        return x / 0


REFUSED = [
    (small(), image()[0], "auto", "example=(3, 8, 8) must be one tensor, (batch, channels, height, width)"),
    (small(), torch.randn(1, 4, 8, 8), "auto", "the model does not take an example of (1, 4, 8, 8)"),
    (small(), image(), "depthwise", "form='depthwise' must be auto, grouped, sliced, dense"),
    (small(p=4).double(), image(), "auto", "export float32: model.float(), example.float()"),
    ("small", image(), "auto", "model is a str; it must be an nn.Module"),
    (Pair(), image(), "auto", "the model returns a tuple; export takes networks that return one tensor"),
    (Infinite(), image(), "auto", "the model's output is not finite"),
]


@pytest.mark.parametrize(("model", "example", "form", "message"), REFUSED, ids=lambda v: v if type(v) is str else "")
def test_refusals(model, example, form, message, tmp_path):
    with pytest.raises((UsageError, HetconvError)) as error:
        export_onnx(model, example, tmp_path / "x.onnx", form)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_runtimes_to_time_on(tmp_path):
    with pytest.raises(UsageError, match="runtime='ncnn' must be one of onnxruntime, openvino"):
        export_onnx(small(), image(), tmp_path / "x.onnx", runtime="ncnn")
    with pytest.raises(UsageError, match="form='native' is for runtime='onnxruntime'; openvino has no operators of"):
        export_onnx(small(), image(), tmp_path / "x.onnx", "native", runtime="openvino")


def test_forms_are_timed_on_the_runtime_that_is_asked_for(tmp_path, monkeypatch):
    reason = why_not("openvino")
    if reason is not None:
        pytest.skip(reason)
    opened = []

    def opening(runtime, *args):
        opened.append(runtime)
        return open_session(runtime, *args)

    monkeypatch.setattr(candidate, "open_session", opening)
    report = export_onnx(small(), image(), tmp_path / "x.onnx", "grouped", runtime="openvino")
    assert opened == ["openvino"]
    assert report.timed_on == "openvino"
    assert {check.runtime for check in report.checked} == {"onnxruntime", "openvino"}


def test_a_wrong_export_leaves_what_was_there(tmp_path, monkeypatch):
    """A hundredth more on one tap of one channel in each part is found."""
    path = tmp_path / "x.onnx"
    path.write_bytes(b"before")
    prepare = candidate.prepare

    def wrong(model, example, form):
        prepared = prepare(model, example, form)
        with torch.no_grad():
            grouped = [m for m in prepared.network.modules() if isinstance(m, nn.Conv2d) and m.groups == 4]
            grouped[-1].weight[:, 0, 1, 1] += 0.01
        return prepared

    monkeypatch.setattr(candidate, "prepare", wrong)
    with pytest.raises(HetconvError, match="onnxruntime differs from the original in float64 by"):
        export_onnx(small(), image(), path, "grouped")
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["x.onnx"]


def test_auto_takes_what_can_be_exported(monkeypatch):
    def no_groups(model, choice, *_):
        if choice.form == "grouped":
            raise UsageError("no groups today")
        return SimpleNamespace(session=choice.form)

    times = {"sliced": 2.0, "dense": 3.0}
    monkeypatch.setattr(candidate, "layer_kinds", lambda model, example: ())
    monkeypatch.setattr(candidate, "Candidate", no_groups)
    monkeypatch.setattr(candidate, "medians_in_turns", lambda timers: {name: times[name] for name in timers})
    found = candidate.fastest(small(), "auto", (image(),), [], 1)
    assert (found.name, found.timed_ms, found.refused) == ("sliced", times, {"grouped": "no groups today"})


def test_a_missing_package_says_how_to_install_it(tmp_path, monkeypatch):
    find = session.importlib.util.find_spec
    monkeypatch.setattr(
        session.importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find(name)
    )
    with pytest.raises(UsageError, match="pip install onnx onnxscript onnxruntime"):
        export_onnx(small(), image(), tmp_path / "x.onnx")


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_a_package_that_is_too_old_is_one_line(tmp_path, monkeypatch, package):
    if why_not(package) is not None:
        pytest.skip(why_not(package))
    version = session.importlib.metadata.version
    monkeypatch.setattr(
        session.importlib.metadata, "version", lambda name: "1.2.3+local" if name == package else version(name)
    )
    needed = session.OLDEST[package]
    message = f"^{package} 1.2.3[+]local is too old, {needed} is needed: pip install --upgrade {package}$"
    with pytest.raises(UsageError, match=message):
        export_onnx(small(), image(), tmp_path / "x.onnx", runtime=package)
    assert list(tmp_path.iterdir()) == []
