"""What `het_conv2d` computes: a naive loop, then the reference, then the paths that run, forward and each gradient."""

import itertools

import pytest
import torch
from hypothesis import given, settings

from hetconv import HetPattern, het_conv2d
from hetconv.errors import UsageError

from .case import LAYOUTS, Case, cases

NAMES = ("x", "weight_spatial", "weight_pointwise", "bias")


def naive(x, spatial, pointwise, bias=None, *, p, arrangement, stride, padding, dilation):
    """The paper's layer as loops over output positions, filters and channels; one number for both directions."""
    (batch, m, height, width), (n, _, k, _) = x.shape, spatial.shape
    padded = torch.nn.functional.pad(x, [padding] * 4)
    size = [(side + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for side in (height, width)]
    y = torch.zeros(batch, n, *size, dtype=x.dtype)
    for b, f, i, j in itertools.product(range(batch), range(n), range(size[0]), range(size[1])):
        own, other = iter(spatial[f]), iter(pointwise[f])
        y[b, f, i, j] = 0 if bias is None else bias[f]
        for c in range(m):
            row, column = i * stride, j * stride
            if c % p == f % p if arrangement == "shifted" else c // (m // p) == f // (n // p):
                end = dilation * (k - 1) + 1
                window = padded[b, c, row : row + end : dilation, column : column + end : dilation]
                y[b, f, i, j] += (window * next(own)).sum()
            else:
                centre = dilation * (k // 2)
                y[b, f, i, j] += padded[b, c, row + centre, column + centre] * next(other)
    return y


def with_gradients(case, tensors, backend, grad_output=None):
    """The output and each gradient by name, for a gradient of the output of small integers."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = het_conv2d(*leaves, backend=backend, **case.options)
    if grad_output is None:
        grad_output = torch.randint(-3, 4, output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    gradients = torch.autograd.grad(output, leaves, grad_output, materialize_grads=True)
    return {"output": output.detach(), **dict(zip(NAMES, gradients, strict=False))}


def assert_equal(got, right):
    for name, tensor in right.items():
        assert torch.equal(got[name], tensor), name


@pytest.mark.parametrize(
    ("m", "n", "p", "k", "stride", "padding", "dilation"),
    [
        (4, 4, 1, 3, 1, 1, 1),
        (4, 4, 2, 3, 1, 1, 1),
        (4, 8, 4, 3, 2, 0, 1),
        (6, 3, 3, 3, 1, 4, 1),
        (4, 2, 2, 5, 2, 3, 1),
        (2, 4, 2, 3, 3, 2, 2),
        (4, 4, 4, 1, 2, 1, 1),
        (2, 2, 2, 7, 1, 3, 1),
    ],
)
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
@pytest.mark.parametrize("backend", ["reference", "decomposed", None])
def test_equals_the_naive_loop(m, n, p, k, stride, padding, dilation, arrangement, backend):
    case = Case(HetPattern(m, n, k, p, arrangement), stride, padding, dilation, height=6)
    tensors = case.tensors()
    right = naive(*tensors, p=p, arrangement=arrangement, stride=stride, padding=padding, dilation=dilation)
    assert torch.equal(het_conv2d(*tensors, backend=backend, **case.options), right)


@given(cases(largest_channels=8))
def test_every_path_equals_the_reference(case):
    right = with_gradients(case, case.tensors(), "reference")
    for backend, dtype in (("decomposed", torch.float64), (None, torch.float64), (None, torch.float32)):
        got = with_gradients(case, case.tensors(dtype), backend)
        assert_equal({name: tensor.double() for name, tensor in got.items()}, right)


@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
@pytest.mark.parametrize(("m", "n"), [(12, 12), (12, 24), (24, 12)])
def test_every_p_that_divides(m, n, arrangement):
    for p in (1, 2, 3, 4, 6, 12):
        case = Case(HetPattern(m, n, 3, p, arrangement), padding=1, height=5)
        tensors = case.tensors()
        assert_equal(with_gradients(case, tensors, None), with_gradients(case, tensors, "reference"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 63), (63, 7), (7, 1)])
def test_odd_sizes_and_layouts(height, width, layout):
    case = Case(HetPattern(8, 4, 3, 4), 2, 1, 1, 3, height, width, layout)
    tensors = case.tensors()
    assert_equal(with_gradients(case, tensors, None), with_gradients(case, tensors, "reference"))


@pytest.mark.parametrize("padding", [0, 1, 2, 5, "same", "valid"])
def test_centre_taps_on_the_padding(padding):
    """A 1×1 map: with enough padding most centre taps, or all of them, read zeros."""
    for stride in (1,) if padding == "same" else (1, 2, 3):
        case = Case(HetPattern(4, 4, 1, 2), stride, padding, height=1, width=1)
        tensors = case.tensors()
        assert_equal(with_gradients(case, tensors, None), with_gradients(case, tensors, "reference"))


def test_no_centre_tap_reads_the_input():
    """Two output rows, both beside the map: only bias and outer taps are left, and no gradient for the 1×1."""
    case = Case(HetPattern(4, 4, 3, 2), stride=(4, 1), padding=(2, 1), height=1)
    tensors = case.tensors()
    got = with_gradients(case, tensors, None)
    assert_equal(got, with_gradients(case, tensors, "reference"))
    assert not got["weight_pointwise"].any()


def test_random_numbers_in_float64_to_rounding():
    """Each output sums 144 products and each gradient up to 2·15·15 (batch 2): 450 roundings at most."""
    case = Case(HetPattern(64, 32, 3, 8), padding=1, height=15, width=15)
    tensors = [torch.randn_like(tensor) for tensor in case.tensors()]
    grad_output = torch.randn(2, 32, 15, 15, dtype=torch.float64)
    right = with_gradients(case, tensors, "reference", grad_output)
    got = with_gradients(case, tensors, None, grad_output)
    for name, tensor in right.items():
        assert (got[name] - tensor).abs().max() <= 450 * torch.finfo(torch.float64).eps * tensor.abs().max(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_error_budget(dtype, arrangement):
    """At most twice the error of PyTorch's dense convolution in the same type, plus roundings of the largest value.

    Two, since the grouped and the 1×1 part may each be rounded before they are added. In float32, whose kernels sum
    one product after another, six more: the 2·7·7 = 98 products of a weight's gradient drift by √98/2 roundings.
    """
    case = Case(HetPattern(16, 16, 3, 4, arrangement), padding=1, layout="channels_last")
    tensors = [torch.randn_like(tensor).to(dtype) for tensor in case.tensors()]
    grad_output = torch.randn(2, 16, 7, 7).to(dtype)
    truth = with_gradients(case, [tensor.double() for tensor in tensors], "reference", grad_output.double())
    dense = with_gradients(case, tensors, "reference", grad_output)
    got = with_gradients(case, tensors, None, grad_output)
    for name, right in truth.items():
        floor = (8 if dtype == torch.float32 else 2) * torch.finfo(dtype).eps * right.abs().max()
        error, usual = ((given[name].double() - right).abs().max() for given in (got, dense))
        assert error <= 2 * usual + floor, name
        assert got[name].dtype == dtype


@settings(max_examples=settings.default.max_examples // 4)
@given(cases(largest_channels=4, largest_kernel=3))
def test_gradcheck(case):
    if case.batch == 0:
        return
    leaves = [tensor.requires_grad_() for tensor in case.tensors()]
    assert torch.autograd.gradcheck(lambda *tensors: het_conv2d(*tensors, **case.options), leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *tensors: het_conv2d(*tensors, **case.options), leaves, fast_mode=True)


@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_gradcheck_of_every_element(arrangement):
    case = Case(HetPattern(4, 2, 3, 2, arrangement), (2, 1), (1, 2), (1, 2), batch=1, height=3, width=3)
    leaves = [tensor.requires_grad_() for tensor in case.tensors()]
    assert torch.autograd.gradcheck(lambda *tensors: het_conv2d(*tensors, **case.options), leaves)
    assert torch.autograd.gradgradcheck(lambda *tensors: het_conv2d(*tensors, **case.options), leaves)


@pytest.mark.parametrize("wanted", range(4))
def test_one_gradient_alone(wanted):
    case = Case(HetPattern(4, 8, 3, 2), padding=1)
    tensors = case.tensors()
    right = with_gradients(case, tensors, "reference")
    tensors[wanted].requires_grad_()
    output = het_conv2d(*tensors, **case.options)
    grad_output = torch.randint(-3, 4, output.shape, generator=torch.Generator().manual_seed(1)).double()
    output.backward(grad_output)
    assert torch.equal(tensors[wanted].grad, right[NAMES[wanted]])
    assert all(tensor.grad is None for i, tensor in enumerate(tensors) if i != wanted)


def test_third_derivative():
    case = Case(HetPattern(2, 2, 3, 2), padding=1, batch=1, height=3, width=3)

    def third(backend):
        x, spatial, pointwise, bias = (tensor.requires_grad_() for tensor in tensors)
        value = het_conv2d(x, spatial, pointwise, bias, backend=backend, **case.options).pow(3).sum()
        for leaf in (x, spatial):
            value = torch.autograd.grad(value, leaf, create_graph=True)[0].sum()
        return torch.autograd.grad(value, pointwise)[0]

    tensors = case.tensors()
    assert torch.equal(third(None), third("reference"))
    assert third(None).all()


@pytest.mark.parametrize("backend", ["reference", "decomposed", None])
def test_unbatched(backend):
    case = Case(HetPattern(4, 8, 3, 2), padding=1, batch=1)
    x, *weights = case.tensors()
    output = het_conv2d(x[0], *weights, backend=backend, **case.options)
    assert torch.equal(output, het_conv2d(x, *weights, backend="reference", **case.options)[0])


@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_empty_batch(arrangement):
    case = Case(HetPattern(4, 8, 3, 2, arrangement), batch=0)
    got = with_gradients(case, case.tensors(), None)
    assert got["output"].shape == (0, 8, 5, 5)
    assert got["x"].shape == (0, 4, 7, 7)
    assert not any(got[name].any() for name in NAMES)


def test_integers_and_noncontiguous_weights():
    case = Case(HetPattern(4, 8, 3, 2), padding=1)
    x, spatial, pointwise, bias = case.tensors()
    right = het_conv2d(x, spatial, pointwise, bias, backend="reference", **case.options)
    strided = torch.stack([spatial, spatial], -1)[..., 0], pointwise.T.contiguous().T, torch.stack([bias] * 2, -1)[:, 0]
    assert torch.equal(het_conv2d(x, *strided, **case.options), right)
    whole = [tensor.long() for tensor in (x, spatial, pointwise, bias)]
    assert torch.equal(het_conv2d(*whole, **case.options), right.long())


SHAPES = {"x": (2, 8, 9, 9), "weight_spatial": (4, 2, 3, 3), "weight_pointwise": (4, 6), "bias": (4,)}
WRONG = {
    "x has shape (8, 9); it must be (batch, channels, height, width), or without batch": {"x": (8, 9)},
    "x has 7 channels; the weights are for in_channels=8": {"x": (2, 7, 9, 9)},
    "bias has shape (3,); it must be (4,)": {"bias": (3,)},
    "weight_spatial must be (N, M/P, K, K) and weight_pointwise (N, M - M/P), not (4, 2, 3) and (4, 6)": {
        "weight_spatial": (4, 2, 3)
    },
    "weight_spatial must be (N, M/P, K, K) and weight_pointwise (N, M - M/P), not (4, 2, 3, 3) and (4, 6, 1, 1)": {
        "weight_pointwise": (4, 6, 1, 1)
    },
    "weight_spatial has 4 filters and weight_pointwise 8; both must have the same number": {"weight_pointwise": (8, 6)},
    "weight_spatial has 3 channels of 8 (with weight_pointwise's); it must have M/P of M": {
        "weight_spatial": (4, 3, 3, 3),
        "weight_pointwise": (4, 5),
    },
    "weight_spatial has 0 channels of 8 (with weight_pointwise's); it must have M/P of M": {
        "weight_spatial": (4, 0, 3, 3),
        "weight_pointwise": (4, 8),
    },
    "kernel_size=4 must be odd, to have a centre tap; nearest: 3 or 5": {"weight_spatial": (4, 2, 4, 3)},
    "out_channels=6 must be divisible by p=4; nearest p that divides in_channels=8 and out_channels=6: 2": {
        "weight_spatial": (6, 2, 3, 3),
        "weight_pointwise": (6, 6),
    },
    "kernel_size=(3, 3) with dilation=(1, 1) is larger than the input (2, 9) with padding=(0, 0); pad more or feed a "
    "larger input": {"x": (2, 8, 2, 9)},
    "arrangement='striped' must be one of shifted, blocked": {"arrangement": "striped"},
    "backend='cudnn' must be one of native, triton, reference, decomposed, or None for the fastest": {
        "backend": "cudnn"
    },
    "stride=0 must be an integer of at least 1": {"stride": 0},
    "stride=1.5 must be an integer of at least 1": {"stride": 1.5},
    "stride=True must be an integer of at least 1": {"stride": True},
    "stride=(1, 1, 1) must be one number or two (height, width)": {"stride": (1, 1, 1)},
    "padding=(0, -1) must be an integer of at least 0": {"padding": (0, -1)},
    "padding=None must be an integer of at least 0": {"padding": None},
    "padding='full' must be 'same', 'valid', or numbers": {"padding": "full"},
    "padding='same' needs stride=1, not stride=2; give padding as a number": {"padding": "same", "stride": 2},
    "dilation=0 must be an integer of at least 1": {"dilation": 0},
}


@pytest.mark.parametrize("message", WRONG)
def test_errors(message):
    given = {**SHAPES, **WRONG[message]}
    tensors = {name: torch.zeros(given.pop(name)) for name in SHAPES}
    with pytest.raises(UsageError) as caught:
        het_conv2d(**tensors, **given)
    assert str(caught.value) == message


def test_errors_of_types():
    tensors = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for name in ("weight_spatial", "weight_pointwise", "bias"):
        with pytest.raises(UsageError) as caught:
            het_conv2d(**tensors | {name: tensors[name].double()})
        expected = f"{name} is torch.float64 on cpu and x is torch.float32 on cpu; convert one of them"
        assert str(caught.value) == expected
        with pytest.raises(UsageError, match=f"^{name} is torch.float32 on meta and x is torch.float32 on cpu; "):
            het_conv2d(**tensors | {name: tensors[name].to("meta")})
    with pytest.raises(UsageError, match=r"^x is torch.complex64; het_conv2d computes real numbers only$"):
        het_conv2d(**{name: tensor.to(torch.complex64) for name, tensor in tensors.items()})
