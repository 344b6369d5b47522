"""Steps of 8 bits against their definition in integers, with ==, on every instruction set this machine has."""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import get_args

import pytest
import torch
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.ops import native
from hetconv.ops import network_steps as network
from hetconv.ops.arguments import Geometry
from hetconv.ops.native_network import Network
from hetconv.ops.network_steps import Affine, Int8Weights, Window
from hetconv.ops.weights import to_dense_weight
from hetconv.pattern import HetPattern

pytestmark = pytest.mark.skipif(native.why_not_loaded() is not None, reason=str(native.why_not_loaded()))


@pytest.fixture(params=get_args(native.Int8InstructionSet))
def instruction_set(request):
    best = native.instruction_set()
    try:
        native.choose_instruction_set(request.param)
    except UsageError as error:
        pytest.skip(str(error))
    yield request.param
    native.choose_instruction_set(best)


PADDED = Geometry(padding=(1, 1))


@dataclass(frozen=True)
class Layer:
    pattern: HetPattern
    where: Geometry = PADDED
    size: tuple[int, int] = (7, 5)
    batch: int = 2
    zero: int = 0
    out_zero: int = 0
    residual_zero: int | None = None
    activation: str | None = None

    def __post_init__(self):
        torch.manual_seed(0)


LAYERS = [
    Layer(HetPattern(64, 64, 3, 1), activation="relu"),
    Layer(HetPattern(64, 128, 3, 2), zero=3, out_zero=100),
    Layer(HetPattern(128, 64, 3, 4), activation="relu", residual_zero=0),
    Layer(HetPattern(64, 64, 3, 8), residual_zero=7, out_zero=50, activation="relu6"),
    Layer(HetPattern(64, 64, 3, 16), Geometry((2, 2), (1, 1)), size=(9, 8)),
    Layer(HetPattern(96, 32, 3, 32), activation="relu"),
    Layer(HetPattern(48, 96, 3, 12), zero=128, out_zero=128),
    Layer(HetPattern(12, 9, 3, 3), zero=1),
    Layer(HetPattern(40, 60, 3, 20), Geometry((1, 1), (2, 2), (2, 2)), size=(8, 11)),
    Layer(HetPattern(64, 64, 3, 4, "blocked")),
    Layer(HetPattern(32, 64, (1, 3), 4), Geometry((1, 2), (0, 1))),
    Layer(HetPattern(16, 16, 5, 8), Geometry((1, 1), (3, 3)), zero=255),
    Layer(HetPattern(70, 33, 1, 1), Geometry((2, 2)), residual_zero=2),
    Layer(HetPattern(1, 1, 3, 1), batch=1, size=(1, 1)),
    Layer(HetPattern(512, 64, 3, 4), size=(2, 2), batch=1),
    Layer(HetPattern(256, 192, 3, 16), size=(9, 20), residual_zero=4),
]


def weights_of(pattern):
    spatial, pointwise = (torch.randint(-127, 128, shape).to(torch.int8) for shape in shapes(pattern))
    return Int8Weights(pattern, spatial, pointwise, torch.rand(pattern.out_channels) * 0.01 + 1e-4)


def shapes(pattern):
    return pattern.spatial_shape, pattern.pointwise_shape


def images(channels, size, batch, zero):
    """Whole numbers that are u8 once `zero` is added."""
    return torch.randint(-zero, 256 - zero, (batch, channels, *size)).float()


def stored(real, to, activation):
    """What int8.h defines: nearest, halves to even, then clamped."""
    q = real.round() + to.zero
    if activation == "relu6":
        q = q.clamp(max=to.zero + round(6 / to.scale))
    return q.clamp(to.zero if activation else 0, 255)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.pattern.in_channels}-P{layer.pattern.p}")
def test_convolution_gives_the_integers_of_its_definition(instruction_set, layer):
    pattern, of = layer.pattern, Affine(1.0, layer.zero)
    weights, bias = weights_of(pattern), torch.randn(pattern.out_channels)
    to = Affine(0.05 * math.sqrt(pattern.in_channels), layer.out_zero)
    x = images(pattern.in_channels, layer.size, layer.batch, layer.zero)
    steps = [network.quantize(0, of)]
    residual, r = None, None
    if layer.residual_zero is not None:  # the input again, of another size: through a layer of its own
        into = HetPattern(pattern.in_channels, pattern.out_channels, pattern.kernel_hw, 1)
        first = weights_of(into)
        scale = Affine(0.7, layer.residual_zero)
        steps.append(network.int8_convolution(1, of, first, torch.zeros(into.out_channels), layer.where, scale))
        residual, r = (
            (2, scale),
            stored(real_of(x, first, torch.zeros(into.out_channels), layer.where, scale), scale, None),
        )
    steps.append(network.int8_convolution(1, of, weights, bias, layer.where, to, residual, layer.activation))
    steps.append(network.dequantize(len(steps), Affine(1.0)))
    real = real_of(x, weights, bias, layer.where, to)
    if r is not None:
        share = torch.tensor(residual[1].scale / to.scale, dtype=torch.float32)
        real = real + (r - layer.residual_zero) * share
    got = Network(pattern.in_channels, steps)(x)
    assert torch.equal(got, stored(real, to, layer.activation))


def real_of(x, weights, bias, where, to, of_scale=1.0):
    """float(integer sum) · scale, in float32; sums are exact in float64."""
    dense = to_dense_weight(weights.spatial.double(), weights.pointwise.double(), weights.pattern)
    product = weights.scale.double() * of_scale
    sums = functional.conv2d(
        x.double(), dense, (bias.double() / product).round(), where.stride, where.padding, where.dilation
    )
    scale = (product / (1.0 if to is None else to.scale)).float()
    return sums.float() * scale.view(-1, 1, 1)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.pattern.in_channels}-P{layer.pattern.p}")
def test_packed_weights_are_unpacked_bit_by_bit(instruction_set, layer):
    weights = weights_of(layer.pattern)
    packed = native.pack_int8_weights(weights.spatial, weights.pointwise, layer.pattern)
    spatial, pointwise = native.unpack_weights(packed, layer.pattern)
    assert torch.equal(spatial, weights.spatial)
    assert torch.equal(pointwise, weights.pointwise)
    assert spatial.dtype == pointwise.dtype == torch.int8


def test_packed_weights_of_another_layer_are_refused():
    pattern, other = HetPattern(64, 64, 3, 4), HetPattern(64, 64, 3, 4, "blocked")
    weights = weights_of(pattern)
    packed = native.pack_int8_weights(weights.spatial, weights.pointwise, pattern)
    with pytest.raises(UsageError, match="the weights were not packed for HetPattern"):
        native.unpack_weights(packed, other)
    with pytest.raises(UsageError, match="the weights were not packed for HetPattern"):
        native.unpack_weights(packed[:32], pattern)
    with pytest.raises(UsageError, match="the layer has 36864 and 0"):
        native.pack_int8_weights(weights.spatial[1:], weights.pointwise, HetPattern(64, 64, 3, 1))
    with pytest.raises(UsageError, match="must be int8 on the CPU"):
        native.pack_int8_weights(weights.spatial.float(), weights.pointwise, pattern)
    step = one_layer()
    forged = replace(step, arrays=(packed[:-64], *step.arrays[1:]))
    with pytest.raises(UsageError, match="packed for another layer or instruction set"):
        Network(64, [network.quantize(0, Affine(1.0)), forged, network.dequantize(2, Affine(1.0))])


def test_a_step_is_made_again_of_its_natural_arrays():
    pattern = HetPattern(8, 16, 3, 4)
    natural = (*(torch.randn(shape) for shape in shapes(pattern)), torch.randn(16))
    for step in (one_layer(), network.float_convolution(1, pattern, *natural, Geometry()), network.max_pool(1, POOL)):
        again = network.Step.of_natural(step.kind, step.inputs, step.numbers, step.reals, step.natural_arrays)
        assert (again.kind, again.inputs, again.numbers, again.reals) == (
            step.kind, step.inputs, step.numbers, step.reals
        )  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(again.arrays, step.arrays, strict=True))
    step = one_layer()
    with pytest.raises(UsageError, match="its weights are not those of HetPattern"):
        network.Step.of_natural(step.kind, step.inputs, step.numbers, step.reals, natural)
    with pytest.raises(UsageError, match="17 numbers and 4 reals of 1 values are no int8_convolution"):
        Network(8, [replace(step, numbers=step.numbers[:-1])])
    with pytest.raises(UsageError, match="12 numbers are no int8_convolution"):
        network.Step.of_natural(step.kind, step.inputs, step.numbers[:12], step.reals, step.natural_arrays)


POOL = Window((3, 3), Geometry())


def test_float_output_is_the_scaled_sum(instruction_set):
    pattern = HetPattern(64, 40, 3, 4)
    weights, bias, x = weights_of(pattern), torch.randn(40), images(64, (5, 5), 2, 9)
    steps = [
        network.quantize(0, Affine(1.0, 9)),
        network.int8_convolution(1, Affine(1.0, 9), weights, bias, Geometry(padding=(1, 1)), None, None, "relu"),
    ]
    expected = real_of(x, weights, bias, Geometry(padding=(1, 1)), None).relu()
    assert torch.equal(Network(64, steps)(x), expected)
    assert torch.equal(Network(64, [*steps, network.flatten(2)])(x).flatten(1), expected.flatten(1))
    twice = [*steps, network.float_affine(2, torch.full((40,), 2.0), torch.zeros(40))]
    assert torch.equal(Network(64, twice)(x), 2 * expected)


@pytest.mark.parametrize(("channels", "zero"), [(3, 0), (1, 128), (16, 255)])
def test_a_layer_quantizes_the_images_that_it_reads(instruction_set, channels, zero):
    torch.manual_seed(0)
    of, to = Affine(0.03, zero), Affine(0.05)
    weights, bias = weights_of(HetPattern(channels, 70, 3, 1)), torch.randn(70)
    made = {"bias": bias, "where": Geometry((2, 2), (1, 1)), "to": to, "activation": "relu"}
    quantized = [network.quantize(0, of), network.int8_convolution(1, of, weights, **made)]
    as_read = [network.int8_convolution(0, of, weights, **made, from_float=True)]
    x = torch.randn(2, channels, 13, 9) * 5  # some are clamped
    want, got = (Network(channels, [*steps, network.dequantize(len(steps), to)])(x) for steps in (quantized, as_read))
    assert torch.equal(got, want)


def test_the_largest_products_do_not_saturate(instruction_set):
    pattern = HetPattern(128, 64, 3, 1)
    spatial = torch.full(pattern.spatial_shape, 127, dtype=torch.int8)
    spatial[1::2] = -127
    weights = Int8Weights(pattern, spatial, torch.empty(64, 0, dtype=torch.int8), torch.ones(64))
    steps = [
        network.quantize(0, Affine(1.0)),
        network.int8_convolution(1, Affine(1.0), weights, torch.zeros(64), Geometry(padding=(1, 1)), None),
        network.flatten(2),
    ]
    x = torch.full((1, 128, 4, 4), 255.0)
    expected = real_of(x, weights, torch.zeros(64), Geometry(padding=(1, 1)), None)
    assert torch.equal(Network(128, steps)(x).flatten(), expected.flatten())
    assert expected.max() == 255 * 127 * 128 * 9


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("channels", [64, 24])
def test_pools(instruction_set, channels, ceil):
    x = images(channels, (9, 8), 2, 5)
    window = Window((3, 3), Geometry((2, 2), (1, 1)), ceil)
    of = Affine(1.0, 5)
    largest = Network(channels, [network.quantize(0, of), network.max_pool(1, window), network.dequantize(2, of)])
    assert torch.equal(largest(x), functional.max_pool2d(x, 3, 2, 1, ceil_mode=ceil))
    for count_padding in (True, False):
        pool = network.average_pool(1, window, of, count_padding)
        mean = Network(channels, [network.quantize(0, of), pool, network.dequantize(2, of)])
        exact = functional.avg_pool2d(x.double(), 3, 2, 1, ceil_mode=ceil, count_include_pad=count_padding)
        assert (mean(x) - exact).abs().max() <= 0.5 + 1e-4  # a half is the rounding; the rest float32's


def test_global_average(instruction_set):
    x, of = images(72, (5, 3), 3, 5), Affine(1.0, 5)
    mean = Network(72, [network.quantize(0, of), network.global_average(1, of)])
    torch.testing.assert_close(mean(x), x.mean((2, 3), keepdim=True), rtol=1e-6, atol=0)


def test_addition(instruction_set):
    x, of = images(48, (4, 5), 2, 5), Affine(1.0, 5)
    to = Affine(1.5, 20)
    steps = [network.quantize(0, of), network.max_pool(1, Window((3, 3), Geometry(padding=(1, 1))))]
    steps += [network.add([(1, of), (2, Affine(0.5, 5))], to, "relu"), network.dequantize(3, Affine(1.0))]
    largest = functional.max_pool2d(x, 3, 1, 1)
    real = x * torch.tensor(1 / 1.5) + largest * torch.tensor(0.5 / 1.5)
    assert torch.equal(Network(48, steps)(x), stored(real, to, "relu"))


def test_a_table_is_looked_up(instruction_set):
    x, levels = torch.arange(256.0).view(1, 16, 4, 4), torch.randperm(256).to(torch.uint8)
    steps = [network.quantize(0, Affine(1.0)), network.table(1, levels), network.dequantize(2, Affine(1.0))]
    assert torch.equal(Network(16, steps)(x), levels.float().view(1, 16, 4, 4))


def test_products(instruction_set):
    x, of, to = images(48, (4, 5), 2, 5), Affine(1.0, 5), Affine(37.5, 20)
    steps = [network.quantize(0, of), network.max_pool(1, Window((4, 5), Geometry()))]
    most = x.amax((2, 3), keepdim=True)
    for number, other in ((1, x), (2, most)):
        made = [*steps, network.product((1, of), (number, of), to), network.dequantize(3, Affine(1.0))]
        assert torch.equal(Network(48, made)(x), stored(x * other * torch.tensor(1 / 37.5), to, None))


@pytest.mark.parametrize("channels", [64, 20])
def test_concatenation(instruction_set, channels):
    x, of = images(channels, (4, 5), 2, 5), Affine(1.0, 5)
    steps = [network.quantize(0, of), network.max_pool(1, Window((3, 3), Geometry(padding=(1, 1))))]
    steps += [network.concatenate([1, 2, 1]), network.dequantize(3, of)]
    expected = torch.cat([x, functional.max_pool2d(x, 3, 1, 1), x], 1)
    assert torch.equal(Network(channels, steps)(x), expected)


def test_padded_channels(instruction_set):
    x, of = images(20, (4, 5), 2, 5), Affine(1.0, 5)
    steps = [network.quantize(0, of), network.pad_channels(1, 3, 70, of), network.dequantize(2, of)]
    assert torch.equal(Network(20, steps)(x), functional.pad(x, (0, 0, 0, 0, 3, 70)))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_quantize_rounds_halves_to_even_and_clamps(instruction_set, layout):
    x = torch.arange(-40, 1000, dtype=torch.float32).div(2)[: 64 * 16].view(1, 64, 4, 4)
    of = Affine(1.0, 3)
    got = Network(64, [network.quantize(0, of), network.dequantize(1, Affine(1.0))])(x.contiguous(memory_format=layout))
    assert torch.equal(got, (x.round() + 3).clamp(0, 255))


def test_float_convolution_is_the_kernel_of_float32():
    pattern = HetPattern(8, 16, 3, 4)
    spatial, pointwise, bias = (torch.randint(-3, 4, shape).float() for shape in (*shapes(pattern), (16,)))
    step = network.float_convolution(0, pattern, spatial, pointwise, bias, Geometry(padding=(1, 1)), "relu")
    x = torch.randint(-3, 4, (2, 8, 6, 5)).float()
    expected = functional.conv2d(x, to_dense_weight(spatial, pointwise, pattern), bias, padding=1).relu()
    assert torch.equal(Network(8, [step])(x), expected)


def test_one_network_takes_any_batch_and_size():
    pattern, of = HetPattern(64, 64, 3, 4), Affine(1.0)
    weights, bias, to = weights_of(pattern), torch.zeros(64), Affine(1.0)
    where = Geometry(padding=(1, 1))
    steps = [network.quantize(0, of), network.int8_convolution(1, of, weights, bias, where, to)]
    made = Network(64, [*steps, network.dequantize(2, Affine(1.0))])
    for batch, size in [(1, (4, 4)), (3, (4, 4)), (2, (17, 3)), (1, (60, 60)), (1, (4, 4)), (2, (1, 9)), (1, (5, 5))]:
        x = images(64, size, batch, 0)
        assert torch.equal(made(x), stored(real_of(x, weights, bias, where, to), to, None))


def test_results_do_not_depend_on_the_number_of_threads():
    pattern, of, x = HetPattern(64, 128, 3, 8), Affine(1.0), images(64, (23, 11), 3, 0)
    step = network.int8_convolution(1, of, weights_of(pattern), torch.zeros(128), Geometry(padding=(1, 1)), Affine(9.0))
    made = Network(64, [network.quantize(0, of), step, network.dequantize(2, Affine(1.0))])
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(made(x))
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def one_layer(**changes):
    arguments = {"bias": torch.zeros(64), "to": Affine(1.0), "activation": None} | changes
    pattern = HetPattern(64, 64, 3, 4)
    weights = changes.get("weights", weights_of(pattern))
    arguments.pop("weights", None)
    return network.int8_convolution(1, Affine(1.0), weights, where=Geometry(padding=(1, 1)), **arguments)


def test_refusals_say_why():
    quantize, back = network.quantize(0, Affine(1.0)), network.dequantize(2, Affine(1.0))
    with pytest.raises(UsageError, match="is no part of a convolution of 8 bits"):
        one_layer(activation="silu")
    with pytest.raises(UsageError, match="bias exceeds 32 bits"):
        one_layer(bias=torch.full((64,), 1e9))
    huge = HetPattern(8192, 1, 3, 1)
    spatial = torch.full(huge.spatial_shape, 127, dtype=torch.int8)
    full = Int8Weights(huge, spatial, torch.empty(1, 0, dtype=torch.int8), torch.ones(1))
    with pytest.raises(UsageError, match=r"step 0 .*filter 0's sums can exceed 32 bits"):
        Network(8192, [network.int8_convolution(0, Affine(1.0), full, torch.zeros(1), Geometry(), None)])
    with pytest.raises(UsageError, match="range explodes"):
        Network(64, [quantize, one_layer(to=Affine(1e-9)), back])
    with pytest.raises(UsageError, match="refers to a value"):
        Network(64, [network.dequantize(5, Affine(1.0))])
    made = Network(64, [quantize, one_layer(), back])
    with pytest.raises(UsageError, match="images have 3 channels, the network takes 64"):
        made(torch.zeros(1, 3, 4, 4))
    with pytest.raises(UsageError, match=r"takes \(B, C, H, W\)"):
        made(torch.zeros(64, 4, 4))
    with pytest.raises(UsageError, match="NaN or infinity"):
        made(torch.full((1, 64, 4, 4), math.nan))
    for pattern in (HetPattern(17, 8, 3, 1), HetPattern(16, 8, 3, 2)):
        step = network.int8_convolution(
            0, Affine(1.0), weights_of(pattern), torch.zeros(8), PADDED, None, from_float=True
        )
        with pytest.raises(UsageError, match="only a layer of p = 1 and few channels reads float32"):
            Network(pattern.in_channels, [step])
    few = HetPattern(3, 8, 3, 1)
    step = network.int8_convolution(0, Affine(1.0), weights_of(few), torch.zeros(8), PADDED, None, from_float=True)
    with pytest.raises(UsageError, match="NaN or infinity"):
        Network(3, [step])(torch.full((1, 3, 4, 4), math.nan))
    small = Network(64, [quantize, network.max_pool(1, Window((3, 3), Geometry())), back])
    with pytest.raises(UsageError, match="smaller than the network's windows"):
        small(torch.zeros(1, 64, 2, 2))


def test_another_instruction_set_is_refused_once_weights_are_packed():
    made = Network(64, [network.quantize(0, Affine(1.0)), one_layer(), network.dequantize(2, Affine(1.0))])
    best = native.instruction_set()
    if best == "portable":
        pytest.skip("there is no other")
    native.choose_instruction_set("portable")
    try:
        with pytest.raises(UsageError, match="made for another instruction set; make it again"):
            made(torch.zeros(1, 64, 4, 4))
    finally:
        native.choose_instruction_set(best)


def whole(*shape):
    """Small whole numbers, whose sums of products are exact in float32."""
    return torch.randint(-3, 4, shape).float()


FLOAT_SETS = ("avx512", "avx2", "neon", "portable")


@pytest.fixture(params=FLOAT_SETS)
def float_set(request):
    best = native.instruction_set()
    try:
        native.choose_instruction_set(request.param)
    except UsageError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    yield request.param
    native.choose_instruction_set(best)


GROUPED = {
    "depthwise": ((20, 20, 20, 3, 3), Geometry(padding=(1, 1)), (7, 5)),
    "depthwise, many channels": ((150, 150, 150, 3, 3), Geometry(padding=(1, 1)), (4, 19)),
    "depthwise, stride": ((33, 33, 33, 5, 5), Geometry((2, 2), (2, 2)), (9, 12)),
    "depthwise, dilation": ((16, 16, 16, 3, 3), Geometry((1, 2), (2, 3), (2, 3)), (8, 21)),
    "depthwise, more padding than image": ((8, 8, 8, 3, 3), Geometry(padding=(4, 5)), (1, 2)),
    "depthwise, even": ((24, 24, 24, 2, 4), Geometry((1, 1), (1, 2)), (6, 9)),
    "depthwise, one column": ((17, 17, 17, 7, 1), Geometry(padding=(3, 0)), (3, 17)),
    "groups of one vector together": ((24, 12, 6, 3, 3), Geometry(padding=(1, 1)), (5, 6)),
    "groups of 8": ((40, 80, 5, 3, 3), Geometry((2, 2), (1, 1)), (7, 8)),
    "large groups": ((96, 64, 2, 1, 1), Geometry(), (3, 4)),
    "several filters of a channel": ((6, 18, 6, 3, 3), Geometry(padding=(1, 1)), (5, 5)),
    "one group, even": ((12, 20, 1, 2, 2), Geometry(), (6, 7)),
    "one group, even, stride": ((12, 20, 1, 4, 2), Geometry((2, 2), (1, 0)), (9, 8)),
    "one group, even, dilation": ((5, 7, 1, 2, 2), Geometry((1, 1), (1, 1), (3, 2)), (9, 8)),
}


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("sizes", "where", "image"), GROUPED.values(), ids=GROUPED)
def test_grouped_convolutions_are_exact(float_set, sizes, where, image, activation):
    in_channels, out_channels, groups, *kernel = sizes
    weight, bias, x = (
        whole(out_channels, in_channels // groups, *kernel),
        whole(out_channels),
        whole(2, in_channels, *image),
    )
    window = Window((kernel[0], kernel[1]), where)
    steps = [network.grouped_convolution(0, weight, bias, window, groups, activation)]
    right = functional.conv2d(x, weight, bias, where.stride, where.padding, where.dilation, groups)
    right = right if activation is None else right.relu()
    assert torch.equal(Network(in_channels, steps)(x), right)
    steps.append(network.grouped_convolution(0, weight, bias, window, groups, None, 1))
    again = functional.conv2d(x, weight, bias, where.stride, where.padding, where.dilation, groups)
    assert torch.equal(Network(in_channels, steps)(x), again + right)


@pytest.mark.parametrize("channels", [64, 21])
def test_float_pools(float_set, channels):
    x = whole(2, channels, 9, 8)
    for ceil in (False, True):
        window = Window((3, 3), Geometry((2, 2), (1, 1)), ceil)
        assert torch.equal(
            Network(channels, [network.max_pool(0, window)])(x), functional.max_pool2d(x, 3, 2, 1, ceil_mode=ceil)
        )
        for counts in (True, False):
            mean = Network(channels, [network.average_pool(0, window, count_padding=counts)])
            right = functional.avg_pool2d(x.double(), 3, 2, 1, ceil_mode=ceil, count_include_pad=counts)
            assert torch.equal(mean(x), right.float())
    for size in ((1, 1), (2, 3), (7, 7), (9, 8)):
        right = functional.adaptive_avg_pool2d(x.double(), size).float()
        assert torch.equal(Network(channels, [network.adaptive_average(0, size)])(x), right)


def test_a_max_pool_keeps_what_is_not_a_number(float_set):
    x = whole(1, 20, 6, 6)
    x[0, 3, 2, 2], x[0, 19, 5, 0] = math.nan, -math.inf
    right = functional.max_pool2d(x, 3, 1, 1)
    got = Network(20, [network.max_pool(0, Window((3, 3), Geometry(padding=(1, 1))))])(x)
    assert torch.equal(got.isnan(), right.isnan())
    assert torch.equal(got.nan_to_num(), right.nan_to_num())


JOININGS = {
    "sum": torch.add, "product": torch.mul, "difference": torch.sub, "quotient": torch.div, "maximum": torch.maximum,
    "minimum": torch.minimum,
}  # fmt: skip


def test_float_joins(float_set):
    x, scale, shift = whole(2, 21, 5, 4), whole(21), whole(21)
    by_channel = (scale.view(-1, 1, 1), shift.view(-1, 1, 1))
    steps = [network.float_affine(0, scale, shift), network.max_pool(0, Window((5, 4), Geometry()))]
    made = x * by_channel[0] + by_channel[1]
    most = x.amax((2, 3), keepdim=True)
    for (joining, function), activation in product(JOININGS.items(), (None, "relu", "relu6")):
        act = {None: lambda y: y, "relu6": functional.relu6, "relu": functional.relu}[activation]
        for number, other in ((0, x), (2, most)):
            got = Network(21, [*steps, network.float_join(1, number, joining, activation)])(x)
            right = act(function(made, other))
            assert torch.equal(got.isnan(), right.isnan())  # 0 / 0
            assert torch.equal(got.nan_to_num(), right.nan_to_num())
    one = network.float_affine(0, torch.tensor([2.0]), torch.tensor([-1.0]), "relu")
    assert torch.equal(Network(21, [one])(x), (2 * x - 1).relu())


ACTIVATIONS = {
    "silu": functional.silu, "hardswish": functional.hardswish, "hardsigmoid": functional.hardsigmoid,
    "sigmoid": torch.sigmoid, "gelu": functional.gelu,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(float_set, name):
    x = torch.cat([torch.linspace(-30, 30, 4099), torch.tensor([0.0, -200.0, 200.0, 1e-30, math.nan])])
    x = torch.cat([x, torch.zeros(4112 - len(x))]).view(1, 16, 1, -1)
    one = network.float_affine(0, torch.ones(1), torch.zeros(1), name)
    got, right = Network(16, [one])(x), ACTIVATIONS[name](x.double())
    assert torch.equal(got.isnan(), right.isnan())
    # erf of gelu is within 1.5e-7, half of which reaches x · Φ(x); the others' exp is within 2 ulp, up to e⁸⁸
    allowed = 6e-7 * right.abs() + x.abs() * (1e-7 if name == "gelu" else math.exp(-87)) + math.exp(-87)
    assert bool(((got - right).abs() <= allowed).logical_or(right.isnan()).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_give_no_subnormal_numbers(float_set, name):
    """A layer that reads such numbers takes several times as long."""
    x = torch.linspace(-300, 0, 4096).view(1, 16, 1, -1)
    made = Network(16, [network.float_affine(0, torch.ones(1), torch.zeros(1), name)])(x).abs()
    assert not bool(((made > 0) & (made < torch.finfo(torch.float32).tiny)).any())


def test_float_channels(float_set):
    x = whole(2, 21, 4, 3)
    for channels in (range(3, 20), [20, 0, 5, 6, 7, 5]):
        assert torch.equal(Network(21, [network.select_channels(0, channels)])(x), x[:, list(channels)])
    assert torch.equal(Network(21, [network.pad_channels(0, 2, 5)])(x), functional.pad(x, (0, 0, 0, 0, 2, 5)))
    assert torch.equal(Network(21, [network.pad_image(0, 1, 2, 0, 3)])(x), functional.pad(x, (0, 3, 1, 2)))
    steps = [network.pad_image(0, 1, 0, 0, 1), network.max_pool(1, Window((2, 2), Geometry()))]
    right = functional.max_pool2d(functional.pad(x, (0, 1, 1, 0)), 2, 1)
    assert torch.equal(Network(21, [*steps, network.concatenate([0, 2, 0])])(x), torch.cat([x, right, x], 1))
    assert torch.equal(Network(21, [network.flatten(0, 21 * 12)])(x).flatten(1), x.flatten(1))
    with pytest.raises(UsageError, match="flatten to another number of values"):
        Network(21, [network.flatten(0, 21)])(x)


def test_layer_norm():
    x = torch.randn(2, 37, 4, 3)
    x[0] += 100  # the mean is taken away before the variance is summed
    weight, bias = torch.randn(37), torch.randn(37)
    right = functional.layer_norm(x.double().permute(0, 2, 3, 1), (37,), weight.double(), bias.double(), 1e-6)
    got = Network(37, [network.layer_norm(0, 1e-6, weight, bias)])(x).permute(0, 2, 3, 1)
    # the mean is off by at most the roundings of 3 + 15 additions, a quotient and a difference
    rounding = 2.0**-24
    of_mean = 20 * rounding * x.abs().amax(1) / x.std(1, unbiased=False)
    allowed = of_mean[..., None] * (weight.abs() + right.abs()) + 24 * rounding * (right.abs() + bias.abs())
    assert bool(((got - right).abs() <= allowed).all())


RESIZINGS = {
    "nearest": {"mode": "nearest"},
    "nearest-exact": {"mode": "nearest-exact"},
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear, corners aligned": {"mode": "bilinear", "align_corners": True},
}
SIZES = [(14, 10), (13, 17), (7, 5), (3, 2), (1, 1), (28, 9), (100, 1)]
SCALES = [(2.0, 2.0), (0.5, 1.5), (1.0, 3.25), (1.25, 0.375)]
SAME_OR_TWICE = [((3, 4), (1.25, 1.1875)), ((2, 3), (2.25, 2.3125))]
"""Sizes that their scales leave as they are, or make twice as large, though the scales are no 1 and no 2."""


def resizings():
    for sampling in RESIZINGS:
        for size in SIZES:
            yield network.Resizing(sampling, size), {"size": size, **RESIZINGS[sampling]}
        for scale in SCALES:
            yield network.Resizing(sampling, scale=scale), {"scale_factor": scale, **RESIZINGS[sampling]}


@pytest.mark.parametrize("channels", [64, 20])
def test_images_are_resized(channels):
    x = torch.randn(2, channels, 7, 5)
    for resizing, given in resizings():
        got, right = Network(channels, [network.resize(0, resizing)])(x), functional.interpolate(x, **given)
        if given["mode"].startswith("nearest"):
            assert torch.equal(got, right)
        else:  # four products and their sums, and weights that are rounded products themselves
            assert (got - right).abs().max() <= 8 * 2**-24 * x.abs().max() * 4
    like = [
        network.max_pool(0, Window((3, 2), Geometry((2, 1)))),
        network.resize(1, network.Resizing("nearest"), like=0),
    ]
    right = functional.interpolate(functional.max_pool2d(x, (3, 2), (2, 1)), size=(7, 5))
    assert torch.equal(Network(channels, like)(x), right)


@pytest.mark.parametrize("sampling", RESIZINGS)
def test_a_scale_that_keeps_or_doubles_a_size(sampling):
    for size, scale in SAME_OR_TWICE:
        x = torch.randn(2, 20, *size)
        got = Network(20, [network.resize(0, network.Resizing(sampling, scale=scale))])(x)
        right = functional.interpolate(x, scale_factor=scale, **RESIZINGS[sampling])
        allowed = 0 if sampling.startswith("nearest") else 8 * 2**-24 * 4
        assert (got - right).abs().max() <= allowed * x.abs().max()


@pytest.mark.parametrize("channels", [64, 20])
def test_images_of_8_bits_are_resized(instruction_set, channels):
    x, of = images(channels, (7, 5), 2, 5), Affine(1.0, 5)
    for resizing, given in resizings():
        steps = [network.quantize(0, of), network.resize(1, resizing), network.dequantize(2, of)]
        got, right = Network(channels, steps)(x), functional.interpolate(x, **given)
        assert torch.equal(got, got.round())
        if given["mode"].startswith("nearest"):
            assert torch.equal(got, right)
        else:  # a half is the rounding; the rest float32's, of numbers up to 255
            assert (got - right).abs().max() <= 0.5 + 2**-24 * 255 * 16


def test_what_no_resizing_is():
    for resizing in (network.Resizing("nearest", scale=(math.nan, 1.0)), network.Resizing("nearest", (-1, 2))):
        with pytest.raises(UsageError, match="images are resized"):
            Network(4, [network.resize(0, resizing)])
    small = Network(4, [network.resize(0, network.Resizing("nearest", scale=(0.25, 0.25)))])
    with pytest.raises(UsageError, match="smaller than the network's windows"):
        small(torch.zeros(1, 4, 3, 3))
    with pytest.raises(UsageError, match="a channel is behind the last one"):
        Network(4, [network.select_channels(0, [1, 4])])(torch.zeros(1, 4, 3, 3))
    with pytest.raises(UsageError, match="a channel is before the first one"):
        Network(4, [network.select_channels(0, [1, -1])])


def test_channels_and_borders_of_8_bits(instruction_set):
    x, of = images(150, (4, 5), 2, 5), Affine(1.0, 5)
    for channels in (range(64, 150), range(3, 80), [149, 0, 63, 64, 64, 1]):
        steps = [network.quantize(0, of), network.select_channels(1, channels), network.dequantize(2, of)]
        assert torch.equal(Network(150, steps)(x), x[:, list(channels)])
    steps = [network.quantize(0, of), network.pad_image(1, 1, 2, 0, 3, of), network.dequantize(2, of)]
    assert torch.equal(Network(150, steps)(x), functional.pad(x, (0, 3, 1, 2)))


def test_channels_that_are_padded_are_zeros_whatever_was_behind_the_last_channel(instruction_set):
    x, of = images(150, (4, 5), 2, 5), Affine(1.0, 5)
    start = [
        network.quantize(0, of),
        network.select_channels(1, range(64, 74)),
        network.select_channels(1, range(3, 12)),
    ]
    pad = network.pad_channels
    for steps, right in (
        ([pad(2, 0, 6, of)], functional.pad(x[:, 64:74], (0, 0, 0, 0, 0, 6))),
        ([pad(3, 64, 60, of)], functional.pad(x[:, 3:12], (0, 0, 0, 0, 64, 60))),
        (
            [network.concatenate((2, 3)), pad(4, 0, 6, of)],
            functional.pad(x[:, [*range(64, 74), *range(3, 12)]], (0, 0, 0, 0, 0, 6)),
        ),
    ):
        last = len(start) + len(steps)
        assert torch.equal(Network(150, [*start, *steps, network.dequantize(last, of)])(x), right)


def test_networks_and_images_that_are_empty():
    resize = network.resize(0, network.Resizing("nearest", (4, 4)))
    for size in ((0, 4), (4, 0)):
        with pytest.raises(UsageError, match=r"image size=\(.* must be from 1 to"):
            Network(3, [resize])(torch.zeros(1, 3, *size))
    steps = [network.adaptive_average(0, (1, 1)), network.float_join(0, 1, "sum")]
    with pytest.raises(UsageError, match="a network takes images of no channels"):
        Network(0, steps)(torch.zeros(1, 0, 4, 4))
    with pytest.raises(UsageError, match="a network has no steps"):
        Network(3, [])(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("zero", [-1, 256, 2**31 - 1, -(2**31), 2**40])
def test_zeros_that_are_no_u8(zero):
    of = Affine(1.0, zero)
    for step in (
        network.quantize(0, of), network.dequantize(1, of), network.global_average(1, of),
        network.average_pool(1, Window((2, 2), Geometry()), of), network.add([(1, of)], Affine(1.0)),
        network.add([(1, Affine(1.0))], of), network.product((1, of), (1, of), of),
        network.pad_image(1, 1, 1, 1, 1, of), network.pad_channels(1, 1, 1, of),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="must be from 0 to 255, as u8 is"):
            Network(64, [network.quantize(0, Affine(1.0)), step])


def test_means_of_8_bits_of_more_pixels_than_32_bits_sum():
    window = Window((4096, 4096), Geometry(padding=(2048, 2048)))
    wide = [network.quantize(0, Affine(1.0)), network.average_pool(1, window), network.dequantize(2, Affine(1.0))]
    with pytest.raises(UsageError, match="a mean is of more than 2\\^23 pixels"):
        Network(64, wide)(torch.zeros(1, 64, 2, 2))


def test_a_difference_of_8_bits(instruction_set):
    x, of, to = images(48, (4, 5), 2, 5), Affine(1.0, 5), Affine(1.5, 100)
    steps = [network.quantize(0, of), network.max_pool(1, Window((3, 3), Geometry(padding=(1, 1))))]
    steps += [network.add([(1, of), (2, Affine(-0.5, 5))], to), network.dequantize(3, Affine(1.0))]
    largest = functional.max_pool2d(x, 3, 1, 1)
    assert torch.equal(
        Network(48, steps)(x), stored(x * torch.tensor(1 / 1.5) - largest * torch.tensor(0.5 / 1.5), to, None)
    )


def test_weights_are_packed_for_the_other_algorithm_where_that_is_faster():
    """As the values' exactness shows, of the same weights."""
    pattern, where = HetPattern(64, 64, 3, 1), Geometry(padding=(1, 1))
    spatial, bias = whole(*pattern.spatial_shape), whole(64)
    pointwise = torch.empty(pattern.pointwise_shape)
    sizes = [(1, 1, 1), (1, 40, 40)]
    assert [native.choose_algorithm(pattern, where, size) for size in sizes] == ["direct", "winograd"]
    for algorithm in native.ALGORITHMS:
        packed = native.pack_weights(spatial, pointwise, pattern, algorithm)
        made = Network(64, [network.packed_convolution(0, pattern, packed, bias, where)])
        for batch, height, width in (*sizes, sizes[0]):
            x = whole(batch, 64, height, width)
            right = functional.conv2d(x.double(), spatial.double(), bias.double(), padding=1)
            assert (made(x) - right).norm() <= 1e-6 * right.norm()
            if (height, width) == (1, 1):
                assert torch.equal(made(x), right.float())


def test_images_of_float32_may_hold_anything():
    x = torch.full((1, 4, 3, 3), math.inf)
    assert torch.equal(Network(4, [network.max_pool(0, Window((3, 3), Geometry()))])(x), x[:, :, :1, :1])
