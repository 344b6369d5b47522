"""Layers packed for inference, on every instruction set, against the layer and the operations that follow it."""

import copy

import pytest
import torch
from torch.nn.functional import relu, relu6, silu

from hetconv import HetConv2d, pack
from hetconv.errors import UsageError
from hetconv.ops import native

pytestmark = pytest.mark.skipif(native.why_not_loaded() is not None, reason=str(native.why_not_loaded()))

ACTIVATIONS = {None: lambda x: x, "relu": relu, "relu6": relu6, "silu": silu}


@pytest.fixture(params=["avx512", "avx2", "portable"], autouse=True)
def instruction_set(request):
    best = native.instruction_set()
    try:
        native.choose_instruction_set(request.param)
    except UsageError as error:
        pytest.skip(str(error))
    yield request.param
    native.choose_instruction_set(best)


def whole_numbers(layer):
    """The same layer with small integers for weights, so that sums are exact."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-3, 4, parameter.shape))
    return layer


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_layer_and_what_follows(activation, memory_format, bias):
    for channels, p, stride, arrangement in (
        ((24, 36), 4, 1, "shifted"),
        ((16, 32), 16, 2, "blocked"),
        ((9, 6), 3, 2, "shifted"),
    ):
        layer = whole_numbers(HetConv2d(*channels, 3, stride, 1, p=p, bias=bias, arrangement=arrangement))
        packed = pack(layer, activation)
        x = torch.randint(-3, 4, (2, channels[0], 7, 5)).float().contiguous(memory_format=memory_format)
        with torch.no_grad():
            y = layer(x)
            for residual in (None, torch.randint(-3, 4, y.shape).float(), torch.ones(()).expand_as(y)):
                right = ACTIVATIONS[activation](y if residual is None else y + residual)
                got = packed(x, residual)
                assert got.stride() == y.stride()
                if activation == "silu":
                    torch.testing.assert_close(got, right, rtol=4e-7, atol=1e-30)  # exp is within 2 ulp
                else:
                    assert torch.equal(got, right)


def test_keeps_its_own_weights_and_copies():
    layer = HetConv2d(8, 8, 3, padding="same", p=2, padding_mode="circular")
    packed, x = pack(layer), torch.randn(1, 8, 5, 5)
    right = layer(x).detach()
    with torch.no_grad():
        layer.weight_spatial.zero_()
        assert torch.equal(packed(x), right)
        assert torch.equal(copy.deepcopy(packed)(x), right)
    assert packed.state_dict() == {}


@pytest.mark.parametrize("filters", [8, 6], ids=["whole vectors", "others"])
@pytest.mark.parametrize("activation", ["relu", "relu6", "silu"])
def test_activations_keep_what_is_not_a_number(instruction_set, activation, filters):
    packed = pack(HetConv2d(filters, filters, 1, p=1), activation)
    y = packed(torch.full((1, filters, 1, 1), float("nan")))
    assert bool(y.isnan().all())


def test_compiles_and_exports():
    packed, x = pack(HetConv2d(8, 8, 3, padding=1, p=2), "relu"), torch.randn(2, 8, 5, 5)
    torch._dynamo.reset()
    with torch.no_grad():
        right = packed(x, x)
        assert torch.equal(torch.compile(packed, fullgraph=True, backend="aot_eager")(x, x), right)
        assert torch.equal(torch.export.export(packed, (x, x)).module()(x, x), right)
    torch.library.opcheck(
        torch.ops.hetconv.het_conv2d_packed.default, (x, packed.packed, packed.bias, x, packed.layer_numbers)
    )


def test_refusals():
    layer = HetConv2d(8, 8, 3, padding=1, p=2)
    known = "relu, relu6, silu, hardswish, hardsigmoid, sigmoid, gelu"
    with pytest.raises(UsageError, match=f"^activation='tanh' must be None or one of {known}$"):
        pack(layer, "tanh")
    with pytest.raises(
        UsageError, match=r"^weights cannot be packed: they compute in float32 and bfloat16, and x is torch.float64$"
    ):
        pack(copy.deepcopy(layer).double())
    packed, x = pack(layer), torch.randn(1, 8, 5, 5)
    with pytest.raises(UsageError, match=r"^a packed layer has no gradients; call it under torch.no_grad\(\)"):
        packed(x.requires_grad_())
    with torch.no_grad(), pytest.raises(RuntimeError, match="has not the output's shape"):
        packed(x, x[:, :4])


def test_refuses_weights_packed_for_another_instruction_set(instruction_set):
    packed, x = pack(HetConv2d(8, 8, 3, padding=1, p=2)), torch.randn(1, 8, 5, 5)
    other = "avx2" if instruction_set == "portable" else "portable"
    try:
        native.choose_instruction_set(other)
    except UsageError as error:
        pytest.skip(str(error))
    with torch.no_grad(), pytest.raises(RuntimeError, match="packed for another layer or instruction set"):
        packed(x)


def test_unpacks_to_the_same_bits():
    for channels, kernel, p, arrangement in (
        ((24, 36), 3, 4, "shifted"),
        ((64, 48), 1, 1, "shifted"),
        ((5, 7), (3, 5), 1, "shifted"),
        ((16, 32), 3, 16, "blocked"),
        ((128, 64), 3, 64, "shifted"),
        ((9, 6), 3, 3, "shifted"),
        ((300, 20), 3, 2, "shifted"),
    ):
        layer = HetConv2d(*channels, kernel, p=p, arrangement=arrangement)
        packed = native.pack_weights(layer.weight_spatial, layer.weight_pointwise, layer.pattern)
        spatial, pointwise = native.unpack_weights(packed, layer.pattern)
        assert torch.equal(spatial, layer.weight_spatial)
        assert torch.equal(pointwise, torch.empty(channels[1], 0) if p == 1 else layer.weight_pointwise)
    with pytest.raises(UsageError, match=r"^the weights were not packed for HetPattern"):
        native.unpack_weights(packed[:-1].clone(), layer.pattern)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format], ids=str)
def test_bfloat16_in_and_out(memory_format):
    layer = whole_numbers(HetConv2d(16, 24, 3, padding=1, p=4))
    x = torch.randint(-3, 4, (2, 16, 5, 6)).float().contiguous(memory_format=memory_format)
    residual = torch.randint(-3, 4, (2, 24, 5, 6)).float()
    packed = pack(layer.bfloat16(), "relu")
    with torch.no_grad():
        right = relu(layer.float()(x) + residual).bfloat16()  # sums are exact in float32 and rounded once
        assert torch.equal(packed(x.bfloat16(), residual.bfloat16()), right)
