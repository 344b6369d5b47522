"""Operators of ONNX Runtime on the native kernels: whole numbers compared with `==`, and every way to be wrong."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional

from hetconv import HetPattern, het_conv2d, onnx_runtime_library, register_onnx_runtime
from hetconv.built import library
from hetconv.errors import HetconvError, UsageError
from hetconv.ops import native
from hetconv.ops.arguments import Geometry
from hetconv.ops.packed import het_conv2d_packed, layer_numbers
from hetconv.runtimes import custom_operators

pytestmark = pytest.mark.skipif(
    isinstance(library(custom_operators.LIBRARY), str), reason="the native kernels were not built"
)
ATTRIBUTES = {
    "p": 4, "stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "arrangement": "shifted", "activation": "none",
}  # fmt: skip


def whole(*shape):
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float32)


def session(operator, constants, inputs, threads=1, rows=None, **attributes):
    """One node; `constants` are initializers by position, `inputs` the positions of the network's inputs."""
    names = {place: f"i{place}" for place in (*constants, *inputs)}
    node = helper.make_node(
        operator, [names.get(place, "") for place in range(max(names) + 1)], ["y"], domain="ai.hetconv",
        **{key: value for key, value in attributes.items() if value is not None},
    )  # fmt: skip
    given = [helper.make_tensor_value_info(names[at], TensorProto.FLOAT, [None] * dims) for at, dims in inputs.items()]
    graph = helper.make_graph(
        [node], "one", given,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor(names[at], TensorProto.FLOAT, w.shape, w.flatten()) for at, w in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.hetconv", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    register_onnx_runtime(options)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def weights(p, m=8, n=16, kernel=(3, 3)):
    return whole(n, m // p, *kernel), whole(n, m - m // p), whole(n)


def last(x):
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
@pytest.mark.parametrize(
    "changes", [{}, {"stride": [2, 1]}, {"dilation": [2, 2], "padding": [2, 0]}, {"padding": [0, 0]}]
)
def test_it_is_the_layer_for_any_batch(arrangement, changes, threads):
    given = ATTRIBUTES | {"arrangement": arrangement} | changes
    spatial, pointwise, bias = weights(4)
    run = session("HetConv2d", {1: spatial, 2: pointwise, 3: bias}, {0: 4}, threads, **given)
    for batch in (1, 3, 0):
        x = whole(batch, 8, 9, 7)
        geometry = {key: given[key] for key in ("stride", "padding", "dilation", "arrangement")}
        expected = het_conv2d(x, spatial, pointwise, bias, **geometry, backend="reference")
        assert np.array_equal(run.run(None, {"i0": last(x)})[0], last(expected))


@pytest.mark.parametrize(("activation", "function"), [("relu", torch.relu), ("relu6", functional.relu6)])
def test_bias_residual_and_activation_join(activation, function):
    spatial, pointwise, bias = weights(2)
    given = ATTRIBUTES | {"p": 2, "activation": activation}
    run = session("HetConv2d", {1: spatial, 2: pointwise, 3: bias}, {0: 4, 4: 4}, **given)
    x, residual = whole(2, 8, 5, 5), whole(2, 16, 5, 5)
    expected = function(het_conv2d(x, spatial, pointwise, bias, padding=1, backend="reference") + residual)
    assert np.array_equal(run.run(None, {"i0": last(x), "i4": last(residual)})[0], last(expected))


def test_one_session_packs_for_both_algorithms():
    """Images that want Winograd, then some that do not, then the first again: bit by bit the layer's own outputs."""
    spatial, pointwise, bias = weights(4, 64, 64)
    run = session("HetConv2d", {1: spatial, 2: pointwise, 3: bias}, {0: 4}, **ATTRIBUTES)
    pattern = HetPattern(64, 64, 3, 4)
    layer = layer_numbers(pattern, Geometry(padding=(1, 1)), None)
    chosen = []
    for size in ((2, 64, 32, 32), (1, 64, 2, 2), (2, 64, 32, 32)):
        x = whole(*size)
        algorithm = native.choose_algorithm(pattern, Geometry(padding=(1, 1)), (size[0], *size[2:]))
        packed = native.pack_weights(spatial, pointwise, pattern, algorithm)
        expected = het_conv2d_packed(x.contiguous(memory_format=torch.channels_last), packed, bias, None, layer)
        assert np.array_equal(run.run(None, {"i0": last(x)})[0], last(expected))
        chosen.append(algorithm)
    assert chosen == ["winograd", "direct", "winograd"]


def test_silu_is_within_two_roundings():
    spatial, pointwise, _ = weights(4)
    run = session("HetConv2d", {1: spatial, 2: pointwise}, {0: 4}, **(ATTRIBUTES | {"activation": "silu"}))
    x = whole(1, 8, 5, 5)
    expected = functional.silu(het_conv2d(x, spatial, pointwise, padding=1, backend="reference"))
    np.testing.assert_allclose(run.run(None, {"i0": last(x)})[0], last(expected), rtol=1e-6, atol=1e-6)


def test_a_dense_layer_needs_no_pointwise_weights():
    spatial, _, bias = weights(1)
    run = session("HetConv2d", {1: spatial, 3: bias}, {0: 4}, **(ATTRIBUTES | {"p": 1}))
    x = whole(2, 8, 6, 5)
    assert np.array_equal(run.run(None, {"i0": last(x)})[0], last(functional.conv2d(x, spatial, bias, padding=1)))


def test_weights_that_are_computed_are_packed_at_every_run():
    run = session("HetConv2d", {}, {0: 4, 1: 4, 2: 2}, **ATTRIBUTES)
    x = whole(1, 8, 5, 5)
    for sign in (1, -1):
        spatial, pointwise = (sign * weight for weight in weights(4)[:2])
        expected = het_conv2d(x, spatial, pointwise, padding=1, backend="reference")
        found = run.run(None, {"i0": last(x), "i1": spatial.numpy(), "i2": pointwise.numpy()})[0]
        assert np.array_equal(found, last(expected))


@pytest.mark.parametrize("size", [(1, 3), (7, 7), (8, 5)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), ((3, 1), (1, 2), (1, 0)), (1, 1, 0)])
def test_pooling(size, kernel, stride, padding):
    x = whole(2, 5, *size)
    pairs = {name: [n, n] if isinstance(n, int) else list(n) for name, n in
             (("kernel", kernel), ("stride", stride), ("padding", padding))}  # fmt: skip
    if any(n + 2 * pad < k for n, pad, k in zip(size, pairs["padding"], pairs["kernel"], strict=True)):
        pytest.skip("the kernel is larger than the image")
    for ceil in (0, 1):
        run = session("MaxPool2d", {}, {0: 4}, threads=2, ceil=ceil, **pairs)
        expected = functional.max_pool2d(x, kernel, stride, padding, ceil_mode=bool(ceil))
        assert np.array_equal(run.run(None, {"i0": last(x)})[0], last(expected))
    for count in (0, 1):
        run = session("AveragePool2d", {}, {0: 4}, threads=2, count_padding=count, **pairs)
        expected = functional.avg_pool2d(x, kernel, stride, padding, count_include_pad=bool(count))
        np.testing.assert_allclose(run.run(None, {"i0": last(x)})[0], last(expected), rtol=1e-6, atol=1e-6)


WRONG = [
    ({"p": None}, "attribute p is missing or no integer"),
    ({"p": 0}, "p=0 must be from 1 to 2147483647"),
    ({"p": 2**62}, "p=4611686018427387904 must be from 1 to 2147483647"),
    ({"p": 3}, "weight_spatial is (16, 2, 3, 3); it must be (N, M/P, K, K), with N divisible by p=3"),
    ({"p": 2}, "weight_pointwise is (16, 6); it must be (16, 2)"),
    ({"stride": [1]}, "attribute stride must be two integers, for height and width"),
    ({"stride": [0, 1]}, "stride=(0, 1) must be from 1 to 2147483647"),
    ({"stride": [1, 2**63 - 4]}, "stride=(1, 9223372036854775804) must be from 1 to 2147483647"),
    ({"padding": [2**61, 0]}, "padding=(2305843009213693952, 0) must be from 0 to 2147483647"),
    ({"dilation": [2**30, 2**30]}, "reads too much for one output; use fewer"),
    ({"arrangement": "mixed"}, "attribute arrangement=mixed must be one of shifted, blocked"),
    ({"activation": "gelu"}, "attribute activation=gelu must be one of none, relu, relu6, silu"),
    ({"activation": None}, "attribute activation is missing or no text"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=lambda v: str(v)[:20])
def test_wrong_attributes_are_one_line_when_the_session_is_made(changes, message):
    spatial, pointwise, _ = weights(4)
    with pytest.raises(Exception, match="HetConv2d: ") as error:
        session("HetConv2d", {1: spatial, 2: pointwise}, {0: 4}, **(ATTRIBUTES | changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value).strip()


def test_wrong_images_are_one_line():
    spatial, pointwise, bias = weights(4)
    run = session("HetConv2d", {1: spatial, 2: pointwise}, {0: 4, 3: 1, 4: 4}, **ATTRIBUTES)
    x, y = last(whole(1, 8, 5, 5)), last(whole(1, 16, 5, 5))
    for given, message in (
        ({"i0": y, "i3": bias.numpy(), "i4": y}, "x is (1, 5, 5, 16); it must be (batch, height, width, 8)"),
        ({"i0": x, "i3": bias.numpy()[1:], "i4": y}, "bias is (15); it must be (16)"),
        ({"i0": x, "i3": bias.numpy(), "i4": x}, "residual is (1, 5, 5, 8); it must be as the output, (1, 5, 5, 16)"),
    ):
        with pytest.raises(Exception, match="HetConv2d: ") as error:
            run.run(None, given)
        assert message in str(error.value)


def test_it_runs_where_torch_was_never_imported(tmp_path):
    code = f"""
import sys
import onnxruntime
options = onnxruntime.SessionOptions()
options.register_custom_ops_library({str(onnx_runtime_library())!r})
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_library_links_neither_torch_nor_onnx_runtime():
    needed = onnx_runtime_library().read_bytes()
    assert b"libtorch" not in needed
    assert b"libonnxruntime" not in needed


def test_a_wrong_number_of_threads_is_one_line():
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(custom_operators.THREADS, "many")
    with pytest.raises(Exception, match=r"hetconv\.threads=many must be an integer of at least 1"):
        options.register_custom_ops_library(str(onnx_runtime_library()))


def test_registering_where_it_cannot_be(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="session_options is a int; it must be an"):
        register_onnx_runtime(3)
    broken = tmp_path / custom_operators.LIBRARY
    broken.write_bytes(b"no library")
    monkeypatch.setattr(custom_operators, "library", lambda name: broken)
    with pytest.raises(HetconvError, match="ONNX Runtime does not take"):
        register_onnx_runtime(onnxruntime.SessionOptions())
    monkeypatch.setattr(custom_operators, "library", lambda name: "the native kernels were not built: no compiler")
    with pytest.raises(UsageError, match=r"cannot be given the native kernels: .* no compiler"):
        onnx_runtime_library()
