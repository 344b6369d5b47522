"""Tools that trace, differentiate forwards, compile and copy: a converted network is to them as one of nn.Conv2d."""

import copy
import io
import operator
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from torch import fx, nn
from torch.autograd import forward_ad

from hetconv import HetConv2d, convert_, het_conv2d

traces = pytest.mark.filterwarnings("ignore:`torch.jit")
SIZES = [(2, 3, 8, 8), (1, 3, 10, 12), (3, 3, 9, 7)]


def network(training=False, p=4, **options):
    layer = HetConv2d(16, 16, 3, **{"padding": 1, "p": p, **options})
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), layer, nn.ReLU()).train(training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"p": 1}, {"padding_mode": "reflect", "bias": False}], ids=str)
def test_fx_sees_one_call(training, options):
    model = network(training, **options)
    traced = fx.symbolic_trace(model)
    assert [node.target for node in traced.graph.nodes if node.target is het_conv2d] == [het_conv2d]
    for size in SIZES:
        x = torch.randn(size)
        assert torch.equal(traced(x), model(x))
        assert torch.equal(pickle.loads(pickle.dumps(traced))(x), model(x))


def test_fx_through_calls_by_function():
    class Calls(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = HetConv2d(8, 8, 3, p=2)

        def forward(self, x):
            return het_conv2d(x, self.layer.weight_spatial, self.layer.weight_pointwise, padding=1).relu()

    model, x = Calls(), torch.randn(1, 8, 5, 5)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))


def test_features_of_torchvision():
    models = pytest.importorskip("torchvision.models")
    from torchvision.models.feature_extraction import create_feature_extractor

    model, x = models.resnet18(num_classes=5).eval(), torch.randn(1, 3, 64, 64)
    convert_(model, 4)
    features = create_feature_extractor(model, ["layer3.1.relu_1", "flatten"])(x)
    assert features["layer3.1.relu_1"].shape == (1, 256, 4, 4)
    kept = {}
    hook = model.avgpool.register_forward_hook(lambda module, args, output: kept.update(pooled=output))
    model(x)
    hook.remove()
    torch.testing.assert_close(features["flatten"], kept["pooled"].flatten(1))


@traces
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"p": 1}, {"padding": "same", "padding_mode": "circular"}], ids=str)
def test_jit_traces_without_a_warning(options, training, grad):
    model = network(training, **options)
    with torch.set_grad_enabled(grad), warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(model, torch.randn(SIZES[0]))
    stored = io.BytesIO()
    torch.jit.save(traced, stored)
    stored.seek(0)
    loaded = torch.jit.load(stored)
    for size in SIZES:
        x = torch.randn(size).requires_grad_()
        outputs = [module(x) for module in (loaded, model)]
        torch.testing.assert_close(*outputs)
        torch.testing.assert_close(*(torch.autograd.grad(output.sum(), x)[0] for output in outputs))


@traces
def test_jit_traces_an_image_without_batch():
    layer, image = HetConv2d(8, 8, 3, p=2), torch.randn(8, 6, 7)
    assert torch.equal(torch.jit.trace(layer, image)(image), layer(image))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit")
def test_the_old_onnx_exporter_writes_standard_operators():
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, x, file = network(), torch.randn(SIZES[0]), io.BytesIO()
    torch.onnx.export(model, (x,), file, dynamo=False)
    assert {node.domain for node in onnx.load_from_string(file.getvalue()).graph.node} == {""}
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.tensor(got), model(x), rtol=1e-5, atol=1e-5)


@traces  # PyTorch scripts its own formulas
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("p", [1, 4])
def test_forward_mode_gradients(p, grad):
    """Also without a graph, where a layer in evaluation mode runs on packed weights that know no tangents."""
    layer = HetConv2d(8, 8, 3, padding=1, p=p, dtype=torch.float32).eval()
    x, tangent = torch.randn(2, 1, 8, 5, 5).unbind()
    with torch.set_grad_enabled(grad), forward_ad.dual_level():
        value, found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent)))
    right = torch.func.jvp(layer.to_dense(), (x,), (tangent,))
    torch.testing.assert_close((value, found), right)


@pytest.mark.parametrize("training", [True, False])
def test_compiles_for_any_size(training):
    model = network(training)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(model), dynamic=True, fullgraph=True, backend="aot_eager")
    for size in SIZES:
        x = torch.randn(size)
        torch.testing.assert_close(compiled(x), model(x))


def test_copies_and_pickles():
    model, x = network(), torch.randn(SIZES[0])
    with torch.no_grad():
        right = model(x)
        for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
            assert torch.equal(other(x), right)


def test_a_spawned_process_takes_one():
    model, x = network().requires_grad_(False), torch.randn(SIZES[0])
    with ProcessPoolExecutor(1, torch.multiprocessing.get_context("spawn")) as pool:  # a child that dies is an error
        assert torch.equal(pool.submit(operator.call, model, x).result(), model(x))
