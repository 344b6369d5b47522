"""Winograd: chosen where it is faster, as right as rounding allows, packed and unpacked."""

import pytest
import torch

from hetconv import HetConv2d, HetPattern, deploy, het_conv2d, load_deployed, pack
from hetconv.errors import UsageError
from hetconv.ops import native
from hetconv.ops.arguments import Geometry
from hetconv.ops.packed import het_conv2d_packed, layer_numbers

from .case import LAYOUTS, Case, integers

pytestmark = pytest.mark.skipif(native.why_not_loaded() is not None, reason=str(native.why_not_loaded()))
SAME = Geometry(padding=(1, 1))
CHANNELS = [(7, 5, 1), (32, 48, 2), (12, 9, 3), (63, 63, 7), (40, 60, 20), (64, 64, 64)]


@pytest.fixture
def summed_directly():
    native.allow_winograd(False)
    yield
    native.allow_winograd(True)


def results(tensors, grad_output, **options):
    leaves = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in tensors]
    output = het_conv2d(*leaves, **options)
    return output.detach(), *torch.autograd.grad(output, leaves[:1], grad_output)


def rms(x):
    return x.double().square().mean().sqrt()


def test_chosen_for_large_maps_of_3x3_kernels_with_stride_1() -> None:
    def chosen(p, size, kernel=3, stride=1):
        pattern = HetPattern(256, 256, kernel, p)
        return native.choose_algorithm(pattern, Geometry((stride, stride), (1, 1), (1, 1)), size)

    assert [chosen(p, (1, 56, 56)) for p in (1, 2, 4, 64)] == ["winograd"] * 3 + ["direct"]
    assert chosen(4, (1, 2, 2)) == "direct"  # its weights would be read for one square
    assert chosen(4, (1, 56, 56), stride=2) == chosen(4, (1, 56, 56), kernel=5) == "direct"


@pytest.mark.usefixtures("summed_directly")
def test_never_chosen_where_it_is_not_allowed() -> None:
    assert native.choose_algorithm(HetPattern(256, 256, 3, 1), SAME, (1, 56, 56)) == "direct"
    case = Case(HetPattern(64, 64, 3, 2), padding=1, height=16, width=16)
    assert torch.equal(
        het_conv2d(*case.tensors(torch.float32), **case.options), het_conv2d(*case.tensors(), **case.options).float()
    )


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", [(64, 64, 1), (256, 64, 4), (96, 96, 3)], ids=str)
def test_error_budget(channels, layout) -> None:
    """Outputs and input gradients at most four times as far off as PyTorch's dense convolution, root mean square.

    Errors are two to four times those of summing tap by tap, which is up to four times better than PyTorch, or as good.
    """
    m, n, p = channels
    case = Case(HetPattern(m, n, 3, p), padding=1, height=14, width=14, layout=layout)
    assert native.choose_algorithm(case.pattern, SAME, (2, 14, 14)) == "winograd"
    tensors = [torch.randn_like(tensor) for tensor in case.tensors(torch.float32)]
    grad_output = torch.randn(2, n, 14, 14)
    truth = results([t.double() for t in tensors], grad_output.double(), backend="reference", **case.options)
    usual = results(tensors, grad_output, backend="reference", **case.options)
    got = results(tensors, grad_output, backend="native", **case.options)
    for name, right, theirs, ours in zip(("output", "x"), truth, usual, got, strict=True):
        assert 0 < rms(ours - right) <= 4 * rms(theirs - right), name


@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (13, 4)], ids=str)
def test_packed_for_it_on_any_layer(channels, arrangement, size) -> None:
    """Sums of products of up to 3 × 3: 2e-7 of the sum of their sizes, a few roundings of each."""
    m, n, p = channels
    pattern = HetPattern(m, n, 3, p, arrangement)
    x, *weights, bias = Case(pattern, padding=2, dilation=2, height=size[0], width=size[1]).tensors(torch.float32)
    packed = native.pack_weights(*weights, pattern, "winograd")
    where = Geometry((1, 1), (2, 2), (2, 2))
    residual = integers((2, n, *size)).float()
    for layout in LAYOUTS.values():
        got = het_conv2d_packed(layout(x), packed, bias, residual, layer_numbers(pattern, where, "relu"))
        right = het_conv2d(
            x.double(), *(w.double() for w in weights), bias.double(), padding=2, dilation=2, arrangement=arrangement
        )
        assert (got - (right + residual).relu()).abs().max() <= 2e-7 * 9 * pattern.weights / n + 1e-6


def test_unpacks_bit_by_bit() -> None:
    for p in (1, 3, 8):
        pattern = HetPattern(24, 48, 3, p)
        weights = torch.randn(pattern.spatial_shape), torch.randn(pattern.pointwise_shape)
        packed = native.pack_weights(*weights, pattern, "winograd")
        assert native.algorithm_of(packed) == "winograd"
        assert all(torch.equal(a, b) for a, b in zip(native.unpack_weights(packed, pattern), weights, strict=True))


def test_packed_for_it_refuses_another_stride() -> None:
    pattern = HetPattern(16, 16, 3, 4)
    weights = torch.ones(pattern.spatial_shape), torch.ones(pattern.pointwise_shape)
    packed = native.pack_weights(*weights, pattern, "winograd")
    strided = layer_numbers(pattern, Geometry((2, 2), (1, 1), (1, 1)), None)
    with pytest.raises(RuntimeError, match="packed for another layer"):
        het_conv2d_packed(torch.ones(1, 16, 8, 8), packed, None, None, strided)


def test_threads_do_not_change_results() -> None:
    layer, x = HetConv2d(64, 64, 3, padding=1, p=4).eval(), torch.randn(3, 64, 18, 18)
    assert native.choose_algorithm(layer.pattern, SAME, (3, 18, 18)) == "winograd"
    before = torch.get_num_threads()
    found = []
    with torch.no_grad():
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(layer(x))
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_layer_is_packed_for_the_size_that_is_given() -> None:
    layer, x = HetConv2d(64, 64, 3, padding=1, p=2).eval(), torch.randn(1, 64, 16, 16)
    assert native.algorithm_of(pack(layer).packed) == "direct"
    packed = pack(layer, size=(1, 16, 16))
    assert native.algorithm_of(packed.packed) == "winograd"
    with torch.no_grad():
        assert torch.equal(packed(x), layer(x))  # an evaluated layer chooses by itself
        assert rms(packed(x) - pack(layer)(x)) < 1e-6 * rms(packed(x))
        assert packed(torch.randn(5, 64, 3, 7)).shape == (5, 64, 3, 7)


def test_deployed_saved_and_loaded_with_it(tmp_path) -> None:
    model = torch.nn.Sequential(HetConv2d(32, 32, 3, padding=1, p=2), torch.nn.ReLU()).eval()
    x = torch.randn(1, 32, 32, 32)
    deployed = deploy(model, x)
    assert [entry.algorithm for entry in deployed.report.convolutions] == ["winograd"]
    deployed.save(tmp_path / "net.safetensors")
    loaded = load_deployed(tmp_path / "net.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(x), deployed(x))
        assert rms(loaded(x) - model.double()(x.double())) < 1e-6


def test_a_wrong_algorithm_is_an_error() -> None:
    pattern = HetPattern(16, 16, 5, 4)
    weights = torch.ones(pattern.spatial_shape), torch.ones(pattern.pointwise_shape)
    with pytest.raises(UsageError, match="winograd"):
        native.pack_weights(*weights, pattern, "winograd")
