"""The native form: what runs on the kernels, what joins, where images are transposed, and that it is the network."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from hetconv import HetConv2d, export_onnx, onnx_runtime_library
from hetconv.built import library
from hetconv.errors import UsageError
from hetconv.export.candidate import Candidate, Choice
from hetconv.export.verify import inputs, reference
from hetconv.lab.models import create_model
from hetconv.runtimes import custom_operators

from .networks import image, randomized, small

pytestmark = pytest.mark.skipif(
    isinstance(library(custom_operators.LIBRARY), str), reason="the native kernels were not built"
)


def candidate(model, x, convolutions=True):
    """Exported, and compared in several batch sizes; the operators in its graph."""
    tried = inputs(x)
    references = [reference(model, one) for one in tried]
    found = Candidate(model, Choice("native", "native", convolutions), tried, references, 2)
    graph = onnx.load_model_from_string(found.onnx).graph
    return found, [node.op_type for node in graph.node]


class Block(nn.Module):
    """Everything that joins, and what stays channels-last without being a layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = HetConv2d(8, 8, 3, padding=1, p=4), HetConv2d(8, 8, 3, padding=1, p=2)
        self.three, self.gate = HetConv2d(8, 8, 3, padding=1, p=4), nn.Conv2d(8, 8, 1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x):
        x = functional.relu6(self.one(x))
        y = torch.relu(self.two(x) + x)
        z = torch.sin(functional.silu(self.three(y))) * self.scale
        z = z * torch.sigmoid(self.gate(z.mean((2, 3), keepdim=True)))
        both = functional.pad(torch.cat((y, z), 1)[:, :, ::2, 1:], (1, 0, 2, 1, 0, 3))
        return functional.avg_pool2d(functional.max_pool2d(both, 3, 2, 1, ceil_mode=True), 2)


def test_a_run_of_layers_is_transposed_at_its_edges_only():
    found, operators = candidate(Block().eval(), torch.randn(2, 8, 14, 13))
    assert operators.count("Transpose") == 2
    assert operators.count("HetConv2d") == 4
    assert {"MaxPool2d", "AveragePool2d", "Concat", "Slice", "Pad", "ReduceMean"} <= set(operators)
    assert not {"Relu", "Clip", "Conv"} & set(operators)
    assert (found.rewritten.layers, found.rewritten.residuals, found.rewritten.activations) == (4, 1, 3)
    assert found.rewritten.transposed == 2


class Shared(nn.Module):
    """Nothing may join: the layer's value is read twice, what is added has another shape or is a constant."""

    def __init__(self):
        super().__init__()
        self.one, self.two = HetConv2d(8, 8, 3, padding=1), HetConv2d(8, 8, 3, padding=1)
        self.row = nn.Parameter(torch.randn(7))

    def forward(self, x):
        y = self.one(x)
        z = self.two(y) + y.mean((2, 3), keepdim=True)
        return torch.relu(y) + torch.clamp(z, 0, 5) + self.row


def test_what_must_not_join_does_not():
    found, operators = candidate(Shared().eval(), torch.randn(2, 8, 6, 7))
    assert (found.rewritten.residuals, found.rewritten.activations) == (0, 0)
    assert operators.count("Transpose") == 2


class Mixed(nn.Module):
    """Depthwise, even and unevenly padded convolutions stay ONNX Runtime's; so do pools that it alone knows."""

    def __init__(self):
        super().__init__()
        self.first, self.depthwise = HetConv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.even, self.last = nn.Conv2d(8, 8, 2), HetConv2d(8, 8, 3, padding_mode="reflect", padding=1)
        self.same = nn.Conv2d(8, 8, (1, 5), padding="same")

    def forward(self, x):
        x = self.same(self.even(torch.relu(self.depthwise(self.first(x)))))
        return functional.max_pool2d(self.last(x), 2, dilation=2)


def test_what_the_kernels_do_not_do_stays():
    _, operators = candidate(Mixed().eval(), torch.randn(2, 8, 9, 9))
    assert operators.count("HetConv2d") == 3
    assert operators.count("Conv") == 2
    assert "MaxPool" in operators


NETWORKS = {"vgg16_cifar": 32, "resnet20_cifar": 32, "resnet18": 64}


@pytest.mark.parametrize("name", ["vgg16_cifar", pytest.param("resnet20_cifar", marks=pytest.mark.nightly), "resnet18"])
def test_networks(name):
    torch.manual_seed(0)
    model = create_model(name, "het-p4", **({"width": 0.25} if name.endswith("cifar") else {})).eval()
    found, operators = candidate(model, torch.randn(2, 3, NETWORKS[name], NETWORKS[name]))
    assert operators.count("Transpose") == found.rewritten.transposed == 2
    assert "Conv" not in operators


def test_het_layers_alone():
    torch.manual_seed(0)
    found, operators = candidate(small(), image(), convolutions=False)
    assert operators.count("HetConv2d") == len(found.prepared.layers) == 2
    assert operators.count("Conv") == 1


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The small network and the report of its export."""
    torch.manual_seed(0)
    model = small()
    return model, export_onnx(model, image(), tmp_path_factory.mktemp("written") / "x.onnx", "native")


def test_the_fastest_of_both_ways_is_written_and_reported(written):
    report = written[1]
    assert set(report.timed_ms) == {
        "native, the whole network as one operator",
        "native, every convolution",
        "native, HetConv layers only",
    }
    assert report.form == min(report.timed_ms, key=report.timed_ms.__getitem__)
    assert report.unchecked == {"openvino": "it has no operators of ai.hetconv"}
    assert "on the native kernels: " in str(report)
    opsets = {entry.domain: entry.version for entry in onnx.load(report.path).opset_import}
    assert opsets["ai.hetconv"] == 1


def test_networks_without_het_layers(tmp_path):
    model = randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    report = export_onnx(model, image(), tmp_path / "x.onnx", "native")
    assert set(report.timed_ms) == {"native, the whole network as one operator", "native, every convolution"}
    assert report.rewritten.layers == 1


def test_a_file_runs_in_a_fresh_process_without_torch(written, tmp_path):
    (model, report), x = written, image(3)
    np.save(tmp_path / "x.npy", x.numpy())
    code = f"""
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.register_custom_ops_library({str(onnx_runtime_library())!r})
session = onnxruntime.InferenceSession({str(report.path)!r}, options, providers=["CPUExecutionProvider"])
np.save("y.npy", session.run(None, {{"input": np.load("x.npy")}})[0])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with torch.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x).numpy(), rtol=1e-4, atol=1e-5)


def test_without_the_library_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_operators, "library", lambda name: "the native kernels were not built: no compiler")
    with pytest.raises(UsageError, match="cannot be given the native kernels"):
        export_onnx(small(), image(), tmp_path / "x.onnx", "native")
    assert list(tmp_path.iterdir()) == []
