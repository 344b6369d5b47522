"""A deployed network as one operator of ONNX Runtime: the same bits, and one line for whatever is wrong."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional

from hetconv import HetConv2d, deploy, export_deployed, export_onnx, load_deployed, register_onnx_runtime
from hetconv.built import library
from hetconv.deployment.choose import Times
from hetconv.deployment.whole import steps_of_deployed
from hetconv.errors import UsageError
from hetconv.export.metadata import Metadata
from hetconv.export.native import whole_network, whole_to_onnx
from hetconv.lab.models import create_model
from hetconv.ops import native
from hetconv.ops.network_steps import Step
from hetconv.runtimes import custom_operators

pytestmark = pytest.mark.skipif(
    isinstance(library(custom_operators.LIBRARY), str), reason="the native kernels were not built"
)


class Joins(nn.Module):
    """Residual additions, a concatenation, pools, squeeze and excitation, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 16, 3, padding=1), het(16, 16), het(16, 16)
        self.down, self.beside = HetConv2d(16, 32, 3, stride=2, padding=1, p=4), nn.Conv2d(16, 32, 1, stride=2)
        self.gate, self.last = nn.Conv2d(32, 32, 1), nn.Linear(64, 5)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.stem(x)), 3, 2, 1)
        x = functional.relu(self.two(functional.relu(self.one(x))) + x)
        x = functional.relu(self.down(x) + self.beside(x))
        y = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.last(functional.adaptive_avg_pool2d(torch.cat((x, y), 1), 1).flatten(1))


def het(inputs, outputs):
    return HetConv2d(inputs, outputs, 3, padding=1, p=4)


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU6(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(), nn.Conv2d(16, 24, 1),
    )  # fmt: skip


NETWORKS = {
    "vgg": lambda: create_model("vgg16_cifar", "het-p4", width=0.25),
    "joins": Joins,
    "depthwise, gives images": depthwise,
}
SIZE = {"vgg": 32}


def images(batch, size=16):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(batch))


def in_8_bits(name):
    torch.manual_seed(0)
    size = SIZE.get(name, 16)
    return deploy(NETWORKS[name]().eval(), images(2, size), "int8", images(40, size), timed=False)


def session(content, threads=1, registered=True):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    if registered:
        register_onnx_runtime(options)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def bits(array):
    return np.asarray(array).view(np.uint32)


def assert_same_bits(content, deployed, size, threads=1):
    run = session(content, threads)
    for batch in (1, 5):
        x = images(batch, size)
        got = run.run(None, {"input": x.numpy()})[0]
        right = deployed(x)
        assert got.shape == right.shape
        assert np.array_equal(bits(got), bits(right.contiguous()))


@pytest.fixture(scope="module")
def joins():
    return in_8_bits("joins")


@pytest.fixture(scope="module")
def steps(joins):
    return steps_of_deployed(joins)


@pytest.fixture(scope="module")
def content(steps):
    return whole_to_onnx(steps, images(2))


@pytest.mark.parametrize("name", NETWORKS)
def test_8_bits_are_the_deployed_networks_bit_by_bit(name, tmp_path):
    deployed = in_8_bits(name)
    report = export_deployed(deployed, images(2, SIZE.get(name, 16)), tmp_path / "x.onnx")
    assert report.batches == (2, 1, 3)
    assert "the deployed network's numbers bit by bit, batches of 2, 1, 3" in str(report)
    onnx.checker.check_model(onnx.load(tmp_path / "x.onnx"))
    for threads in (1, 3):
        assert_same_bits((tmp_path / "x.onnx").read_bytes(), deployed, SIZE.get(name, 16), threads)


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_too(name, tmp_path, monkeypatch):
    monkeypatch.setattr("hetconv.deployment.find_parts.call_is_faster", lambda *_: (True, Times(1.0, 2.0)))
    torch.manual_seed(0)
    size = SIZE.get(name, 16)
    deployed = deploy(NETWORKS[name]().eval(), images(2, size), timed=False)
    export_deployed(deployed, images(2, size), tmp_path / "x.onnx")
    assert_same_bits((tmp_path / "x.onnx").read_bytes(), deployed, size)


def test_a_file_of_another_instruction_set_has_the_same_bytes(joins, tmp_path, content):
    """Weights are packed where they run."""
    joins.save(tmp_path / "joins.safetensors")
    best = native.instruction_set()
    try:
        native.choose_instruction_set("portable")
        there = load_deployed(tmp_path / "joins.safetensors")
        assert whole_to_onnx(steps_of_deployed(there), images(2)) == content
    finally:
        native.choose_instruction_set(best)


def test_class_names_and_image_size_are_in_the_file(joins, tmp_path):
    """The size is that of the images that the file takes, whatever the network was trained on."""
    joins.class_names, joins.image_size = ("a", "ü\n"), 32
    try:
        for example, size in ((images(2, 24).requires_grad_(), 24), (images(2, 24)[:, :, :16], None)):
            export_deployed(joins, example, tmp_path / "x.onnx")
            found = session((tmp_path / "x.onnx").read_bytes()).get_modelmeta().custom_metadata_map
            assert Metadata.of(found) == Metadata(("a", "ü\n"), size)
    finally:
        joins.class_names, joins.image_size = (), None


def test_metadata_of_others_stay_and_wrong_ones_are_refused(content):
    model = onnx.load_model_from_string(content)
    helper.set_model_props(model, {"author": "me"})
    entries = {e.key: e.value for e in onnx.load_model_from_string(
        Metadata(("a",), 8).written(model.SerializeToString())
    ).metadata_props}  # fmt: skip
    assert entries["author"] == "me"
    for wrong in ({"hetconv.class_names": "["}, {"hetconv.class_names": "[1]"}, {"hetconv.image_size": "big"}):
        with pytest.raises(UsageError, match="class names or image size cannot be read"):
            Metadata.of(entries | wrong)


def changed(content, change):
    """The file with its node, or its weights, changed."""
    model = onnx.load_model_from_string(content)
    (node,) = (node for node in model.graph.node if node.op_type == "Network")
    change(node, model.graph)
    return model.SerializeToString()


def attribute(node, name):
    return next(one for one in node.attribute if one.name == name)


def flip_weight(node, graph):
    weight = max(graph.initializer, key=lambda one: len(one.raw_data))
    weight.raw_data = weight.raw_data[:-1] + bytes([weight.raw_data[-1] ^ 1])


def other_number(node, graph):
    attribute(node, "numbers").ints[0] += 1


def other_real(node, graph):
    attribute(node, "reals").floats[0] += 1


def other_kind(node, graph):
    kinds = attribute(node, "kinds")
    kinds.s = kinds.s.replace(b"max_pool", b"flatten_")


@pytest.mark.parametrize("change", [flip_weight, other_number, other_real, other_kind])
def test_a_changed_file_is_refused(content, change):
    with pytest.raises(Exception, match="Network: its checksum is not that of its content: the file was changed"):
        session(changed(content, change))


def without(name):
    def change(node, graph):
        node.attribute.remove(attribute(node, name))

    return change


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("kinds", "no text"),
        ("counts", "no list of integers"),
        ("reals", "no list of floats"),
        ("checksum", "no integer"),
    ],
)
def test_what_is_missing_is_named(content, name, what):
    with pytest.raises(Exception, match=f"Network: attribute {name} is missing or {what}"):
        session(changed(content, without(name)))


def test_weights_must_be_constants(content):
    def change(node, graph):
        weight = graph.initializer.pop()
        graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))

    with pytest.raises(Exception, match="Network: its weights must be constants"):
        session(changed(content, change))


def forged(steps):
    """A file of any steps, with a right checksum."""
    node, weights = whole_network._operator(steps)
    graph = helper.make_graph(
        [node], "x", [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("channels_last", TensorProto.FLOAT, [None] * 4)], weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.hetconv", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def with_arrays(step, arrays):
    """The step, with other natural arrays."""

    class Forged(Step):
        natural_arrays = arrays

    return Forged(step.kind, step.inputs, step.numbers, step.reals, arrays)


def first(steps, kind):
    return next(number for number, step in enumerate(steps.steps) if step.kind == kind)


def put(steps, number, step):
    return replace(steps, steps=(*steps.steps[:number], step, *steps.steps[number + 1 :]))


def test_steps_that_no_network_has_are_refused(steps):
    at = first(steps, "int8_convolution")
    layer = steps.steps[at]
    spatial, *rest = layer.natural_arrays
    cases = [
        (replace(layer, kind="no_step"), "there is no step no_step"),
        (with_arrays(replace(layer, numbers=layer.numbers[:-1]), (spatial, *rest)), "17 numbers and 4 reals of"),
        (with_arrays(layer, (spatial[:-1], *rest)), "its weights have another shape or type"),
        (with_arrays(layer, (spatial.float(), *rest)), "its weights have another shape or type"),
        (with_arrays(layer, (spatial,)), "its weights are missing"),
        (with_arrays(layer, (spatial, *rest, rest[-1])), "it has 4 arrays of weights, and not 3"),
        (with_arrays(layer, (spatial, *rest[:-1], rest[-1][:-1])), "its weights have another shape or type"),
        (with_arrays(layer, (spatial.double(), *rest)), "its weights have another shape or type"),
        (with_arrays(replace(layer, inputs=(99,)), (spatial, *rest)), "refers to a value that no step before it makes"),
        (with_arrays(replace(layer, inputs=()), (spatial, *rest)), "reals of 0 values are no int8_convolution"),
    ]
    for step, message in cases:
        with pytest.raises(Exception, match=f"Network: .*{message}"):
            session(forged(put(steps, at, step)))
    with pytest.raises(Exception, match="Network: it has no steps"):
        session(forged(replace(steps, steps=(with_arrays(replace(layer, kind=""), (spatial,)),))))


def test_images_that_it_does_not_take(content, steps):
    run, any_size = session(content), session(forged(steps))
    x = images(2).numpy()
    with pytest.raises(Exception, match=r"Got invalid dimensions for input: input"):
        run.run(None, {"input": x[:, :, :8]})
    for given, message in (
        (x[:, :1], "images have 1 channels, the network takes 3"),
        (x[:, :, :0], r"image size=\(0, 16\) must be from 1 to"),
        (x[:0], r"images are \(0, 3, 16, 16\); the network takes \(B, C, H, W\), B of at least 1"),
        (np.where(x > 2, np.float32("nan"), x), "images hold NaN or infinity, which 8 bits cannot carry"),
        (np.where(x > 2, np.float32("inf"), x), "images hold NaN or infinity, which 8 bits cannot carry"),
    ):
        with pytest.raises(Exception, match=f"Network: {message}"):
            any_size.run(None, {"input": given})
    with pytest.raises(Exception, match="Unexpected input data type"):
        run.run(None, {"input": x.astype(np.float64)})


def test_without_the_library_onnx_runtime_names_the_operator(content):
    with pytest.raises(Exception, match=r"ai\.hetconv:Network.* is not a registered function"):
        session(content, registered=False)


def test_without_the_kernels_nothing_is_written(joins, tmp_path, monkeypatch):
    monkeypatch.setattr(custom_operators, "library", lambda name: "the native kernels were not built: no compiler")
    with pytest.raises(UsageError, match=r"cannot be given the native kernels: .* no compiler"):
        export_deployed(joins, images(2), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


class Twisted(nn.Module):
    """An operation that no native network has."""

    def __init__(self):
        super().__init__()
        self.first, self.last = het(4, 8), het(8, 8)

    def forward(self, x):
        return self.last(torch.flip(self.first(x), (2,)))


def test_what_stands_outside_is_named(tmp_path):
    x = torch.randn(2, 4, 8, 8)
    deployed = deploy(Twisted().eval(), x, timed=False)
    with pytest.raises(UsageError, match="the network is not one native call: flip: flip is no operation of"):
        export_deployed(deployed, x, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(joins, tmp_path):
    path = tmp_path / "x.onnx"
    with pytest.raises(UsageError, match=r"deployed is a Joins; hetconv\.deploy makes"):
        export_deployed(Joins(), images(2), path)
    with pytest.raises(UsageError, match=r"example=\(3, 16, 16\) must be one tensor"):
        export_deployed(joins, images(1)[0], path)
    with pytest.raises(UsageError, match="images have 5 channels, the network takes 3"):
        export_deployed(joins, torch.zeros(1, 5, 16, 16), path)
    with pytest.raises(UsageError, match="threads=0 must be at least 1"):
        export_deployed(joins, images(2), path, threads=0)
    with pytest.raises(UsageError, match="threads='2' must be at least 1"):
        export_deployed(joins, images(2), path, threads="2")
    with pytest.raises(UsageError, match="the network is deployed; export_deployed writes it"):
        export_onnx(joins, images(2), path)
    assert list(tmp_path.iterdir()) == []
