"""Integers that no layer has: each call is refused in one line, and none computes with what overflowed."""

import pytest
import torch

from hetconv import HetConv2d, HetPattern
from hetconv.errors import UsageError
from hetconv.ops import native

needs_kernels = pytest.mark.skipif(native.why_not_loaded() is not None, reason=str(native.why_not_loaded()))
NEAR = [2**31, 2**61, 2**62 - 1, 2**63 - 4]


@pytest.mark.parametrize("value", [*NEAR, 2**70])
@pytest.mark.parametrize("name", ["stride", "padding", "dilation", "kernel_size"])
def test_layers_refuse_them(name, value):
    sizes = {"kernel_size": 3, name: (1, value - value % 2 + 1)}
    with pytest.raises(UsageError, match=rf"{name}=.* must be at most 2147483647$"):
        HetConv2d(4, 4, p=2, **sizes)


def test_patterns_refuse_them():
    for sizes in ((2**31, 4, 3, 1), (4, 2**62, 3, 1), (4, 4, 3, 2**63)):
        with pytest.raises(UsageError, match=r"must be at most 2147483647$"):
            HetPattern(*sizes)


def test_the_nearest_p_of_many_channels_is_found_at_once():
    with pytest.raises(UsageError, match=r"nearest p that divides .*: 7 or 9$"):
        HetPattern(2**31 - 2, 2**31 - 2, 3, 8)


def operands():
    layer = HetConv2d(4, 4, 3, p=2)
    return torch.randn(1, 4, 8, 8), layer.weight_spatial.detach(), layer.weight_pointwise.detach()


@needs_kernels
@pytest.mark.parametrize("value", [*NEAR, -(2**63)])
@pytest.mark.parametrize("which", range(6))
def test_operators_refuse_them(which, value):
    x, spatial, pointwise = operands()
    numbers = [1, 1, 0, 0, 1, 1]
    numbers[which] = value
    where = (numbers[:2], numbers[2:4], numbers[4:], True)
    name = ("stride", "padding", "dilation")[which // 2]
    operators = torch.ops.hetconv
    for call in (
        lambda: operators.het_conv2d(x, spatial, pointwise, None, *where),
        lambda: operators.het_conv2d_input_grad(x, spatial, pointwise, [10, 10], *where),
        lambda: operators.het_conv2d_weight_grad(x, x, [3, 3], 2, *where),
    ):
        with pytest.raises(RuntimeError, match=rf"hetconv: {name}=\(.*\) must be from [01] to 2147483647"):
            call()


@needs_kernels
def test_images_that_no_memory_holds_are_refused():
    x, spatial, pointwise = operands()
    for padding, dilation, message in (
        ([2**30, 2**30], [1, 1], "too many pixels; pad less"),
        ([0, 0], [2**30, 2**30], "reads too much for one output"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.hetconv.het_conv2d(x, spatial, pointwise, None, [1, 1], padding, dilation, True)
    with pytest.raises(RuntimeError, match="image size"):
        torch.ops.hetconv.het_conv2d_input_grad(x, spatial, pointwise, [2**62, 8], [1, 1], [0, 0], [1, 1], True)


@needs_kernels
@pytest.mark.parametrize("value", [*NEAR, -1])
@pytest.mark.parametrize("which", range(10))
def test_packed_layers_refuse_them(which, value):
    """As a deployed file's graph may have them."""
    x, spatial, pointwise = operands()
    packed = native.pack_weights(spatial, pointwise, HetPattern(4, 4, 3, 2))
    numbers = [4, 2, 3, 3, 1, 1, 0, 0, 1, 1, 1, 0]
    numbers[which] = value
    with pytest.raises(RuntimeError, match=r"hetconv: .*(must be|is larger|packed for another)"):
        torch.ops.hetconv.het_conv2d_packed(x, packed, None, None, numbers)


@needs_kernels
def test_entries_say_what_they_refuse():
    for rounds in (-1, 2**62):
        with pytest.raises(UsageError, match=rf"^rounds={rounds} must be from 0 to "):
            native.multiply_adds(rounds)
    with pytest.raises(UsageError, match="must be integers of 64 bits"):
        native.multiply_adds(2**64)
    with pytest.raises(UsageError, match="there are 16 spatial and 8 pointwise weights; the layer has 72 and 8"):
        native.pack_weights(torch.ones(4, 4), torch.ones(4, 2), HetPattern(4, 4, 3, 2))


@needs_kernels
def test_any_stride_of_a_dimension_of_one_element():
    """PyTorch does not care which it is, and the kernels count lines of the next image by it."""
    layer, x = HetConv2d(16, 16, 3, padding=1, p=4), torch.randn(1, 48, 48, 16).permute(0, 3, 1, 2)
    odd = torch.as_strided(x, x.shape, (2**60, *x.stride()[1:]))
    assert torch.equal(layer(odd), layer(x))
    with torch.no_grad():
        assert torch.equal(layer.eval()(odd), layer(x))


@needs_kernels
def test_a_dilation_that_is_wider_than_the_image():
    """Only the centre tap meets the image, and as many maps as lines are between taps would take for ever."""
    layer, x = HetConv2d(4, 4, 3, padding=2**20, dilation=2**20, p=2), torch.randn(1, 4, 6, 7)
    narrow = HetConv2d(4, 4, 1, p=2)
    narrow.weight_spatial = torch.nn.Parameter(layer.weight_spatial[:, :, 1:2, 1:2].detach().clone())
    narrow.weight_pointwise, narrow.bias = layer.weight_pointwise, layer.bias
    found, right = (one(x) for one in (layer, narrow))
    torch.testing.assert_close(found, right)
