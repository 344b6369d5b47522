"""The native CPU kernels, on every instruction set this machine has, against the masked dense convolution."""

import subprocess
import sys
from functools import cache
from typing import get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from hetconv import HetPattern, explain, het_conv2d
from hetconv.errors import UsageError
from hetconv.ops import native

from .case import LAYOUTS, Case, cases, integers

pytestmark = pytest.mark.skipif(native.why_not_loaded() is not None, reason=str(native.why_not_loaded()))

# M, N, P: vectors of 4, 8 and 16 filters full and not, P dividing them, divided by them, and neither.
CHANNELS = [(1, 1, 1), (7, 5, 1), (32, 48, 2), (12, 9, 3), (64, 64, 4), (24, 36, 12), (63, 63, 7), (40, 60, 20)]
CHANNELS += [(64, 128, 8), (96, 32, 16), (144, 48, 48), (64, 128, 64)]
CHANNELS += [(24, 64, 4), (112, 256, 4), (24, 64, 8), (128, 64, 2)]  # AMX: few and many channels of a residue
OPTIONS = [(3, 1, 1, 1), (3, 2, 1, 1), ((1, 3), 1, 0, 1), (5, (2, 1), 3, (1, 2)), (1, 1, 0, 1)]


@pytest.fixture(params=get_args(native.InstructionSet), autouse=True)
def instruction_set(request):
    """Each one, summing tap by tap: Winograd's fractions are not exact (tests/ops/test_winograd.py)."""
    best = native.instruction_set()
    try:
        native.choose_instruction_set(request.param)
    except UsageError as error:
        pytest.skip(str(error))
    native.allow_winograd(False)
    yield request.param
    native.allow_winograd(True)
    native.choose_instruction_set(best)


def results(case, tensors, grad_output, backend=None):
    """Output and gradients, by name."""
    leaves = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in tensors]
    output = het_conv2d(*leaves, backend=backend, **case.options)
    gradients = torch.autograd.grad(output, leaves, grad_output)
    names = ("output", "x", "weight_spatial", "weight_pointwise", "bias")
    return dict(zip(names, (output.detach(), *gradients), strict=False))


def grad_for(case):
    height, width = het_conv2d(*case.tensors(), backend="reference", **case.options).shape[2:]
    return integers((case.batch, case.pattern.out_channels, height, width))


@cache
def exact(case):
    """Tensors, gradient of the output, and results by name: the same for every instruction set and type."""
    tensors, grad_output = case.tensors(), grad_for(case)
    return tensors, grad_output, results(case, tensors, grad_output, "reference")


def assert_exact(case, dtype=torch.float32):
    """Sums of small integers are exact in float32; what is stored as bfloat16 is them, rounded once."""
    tensors, grad_output, right = exact(case)
    got = results(case, [tensor.to(dtype) for tensor in tensors], grad_output.to(dtype), "native")
    for name, tensor in right.items():
        assert torch.equal(got[name], tensor.to(dtype)), name


@pytest.mark.parametrize("dtype", native.DTYPES, ids=str)
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
def test_small_integers_are_exact(channels, arrangement, dtype):
    m, n, p = channels
    for i, (kernel, stride, padding, dilation) in enumerate(OPTIONS):
        layout = sorted(LAYOUTS)[i % len(LAYOUTS)]
        pattern = HetPattern(m, n, kernel, p, arrangement)
        assert_exact(Case(pattern, stride, padding, dilation, height=7, width=9, layout=layout), dtype)


@settings(max_examples=settings.default.max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_small_call_is_exact(case):
    assert_exact(case)
    assert_exact(case, torch.bfloat16)


@pytest.mark.parametrize("size", [(1, 1), (1, 63), (63, 1), (7, 7), (2, 2)], ids=str)
def test_odd_sizes(size):
    assert_exact(Case(HetPattern(32, 32, 3, 4), 1, 1, 1, 3, *size, layout="channels_last"))


def test_weights_in_channels_last_memory_and_slices():
    case = Case(HetPattern(32, 48, 3, 2), padding=1, layout="channels_last")
    x, spatial, pointwise, bias = (tensor.float() for tensor in case.tensors())
    right = het_conv2d(x, spatial, pointwise, bias, backend="reference", **case.options)
    doubled = torch.stack([spatial, spatial + 1], -1)[..., 0]
    for stored in (spatial.contiguous(memory_format=torch.channels_last), doubled):
        assert torch.equal(het_conv2d(x, stored, pointwise.T.contiguous().T, bias, **case.options), right)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", [(64, 64, 1), (256, 64, 4), (48, 96, 3)], ids=str)
def test_error_budget(channels, layout):
    """At most twice the error of PyTorch's dense convolution, plus two roundings of the largest value.

    The two roundings are for where PyTorch sums so few products apart that its error is almost none.
    """
    m, n, p = channels
    case = Case(HetPattern(m, n, 3, p), padding=1, height=14, width=14, layout=layout)
    tensors = [torch.randn_like(tensor) for tensor in case.tensors(torch.float32)]
    grad_output = torch.randn(2, n, 14, 14)
    truth = results(case, [tensor.double() for tensor in tensors], grad_output.double(), "reference")
    usual = results(case, tensors, grad_output, "reference")
    got = results(case, tensors, grad_output, "native")
    for name, right in truth.items():
        if right.numel() == 0:  # P = 1 has no pointwise weights
            continue
        allowed = 2 * (usual[name] - right).abs().max() + 2 * torch.finfo(torch.float32).eps * right.abs().max()
        assert (got[name] - right).abs().max() <= allowed, name


def test_bfloat16_is_rounded_once():
    """Half a unit in the last of bfloat16's 8 bits, and what float32 sums of these lengths may be off."""
    case = Case(HetPattern(48, 96, 3, 3), padding=1, height=14, width=14, layout="channels_last")
    tensors = [torch.randn_like(tensor).bfloat16() for tensor in case.tensors(torch.float32)]
    grad_output = torch.randn(2, 96, 14, 14).bfloat16()
    truth = results(case, [tensor.double() for tensor in tensors], grad_output.double(), "reference")
    got = results(case, tensors, grad_output, "native")
    for name in ("output", "x", "weight_spatial", "weight_pointwise"):
        right = truth[name]
        allowed = 2**-8 * right.abs() + 4 * torch.finfo(torch.float32).eps * right.abs().max()
        assert ((got[name].double() - right).abs() <= allowed).all(), name


@pytest.mark.parametrize("dtype", native.DTYPES, ids=str)
@pytest.mark.parametrize("p", [1, 2, 4, 8])
def test_not_a_number_reaches_only_those_that_read_it(p, dtype, instruction_set):
    """It is channel 13 of one pixel: its residue's filters read it with all taps, the others at the centre.

    AMX has weights of zero for the others' taps where that is faster.
    """
    case = Case(HetPattern(48, 80, 3, p), padding=1, height=7, width=9, layout="channels_last")
    tensors = case.tensors(dtype)
    tensors[0][0, 13, 3, 4] = float("nan")
    got = results(case, tensors, grad_for(case).to(dtype), "native")
    own, others = torch.arange(80) % p == 13 % p, torch.arange(80) % p != 13 % p
    output = torch.zeros(2, 80, 7, 9, dtype=torch.bool)
    output[0, own, 2:5, 3:6] = True
    output[0, :, 3, 4] = True
    spatial, pointwise = torch.zeros(80, 48 // p, 3, 3, dtype=torch.bool), torch.zeros(80, 48 - 48 // p)
    spatial[own, 13 // p] = True
    for filter_ in torch.arange(80)[others].tolist():
        before = sum(channel % p == filter_ % p for channel in range(13))  # channels with spatial kernels
        pointwise[filter_, 13 - before] = True
    right = {"output": output, "x": torch.zeros(2, 48, 7, 9), "weight_spatial": spatial, "weight_pointwise": pointwise}
    near = torch.zeros_like(output)
    near[0, :, 2:5, 3:6] = True
    for name, tensor in right.items():
        found, expected = got[name].isnan(), tensor.bool()
        if name == "output" and instruction_set == "avx512_amx" and dtype == torch.bfloat16:
            assert bool((found | ~expected).all() and (near | ~found).all())
        else:
            assert torch.equal(found, expected), name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3.4e38, 1e-40, -0.0])
def test_bfloat16_of_special_values(value, instruction_set):
    if value == 1e-40 and instruction_set == "avx512_amx":
        pytest.skip("AMX takes subnormal numbers for zero")
    x = torch.full((1, 8, 1, 3), value).bfloat16()
    weight = torch.zeros(8, 8, 1, 1, dtype=torch.bfloat16)
    weight[torch.arange(8), torch.arange(8)] = 1
    right = torch.nn.functional.conv2d(x.double(), weight.double()).bfloat16()
    assert torch.equal(het_conv2d(x, weight, torch.zeros(8, 0).bfloat16()).nan_to_num(7), right.nan_to_num(7))


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [(64, 64, 4), (24, 36, 12)], ids=str)
def test_results_do_not_depend_on_threads(channels, batch):
    m, n, p = channels
    case = Case(HetPattern(m, n, 3, p), 2, 1, batch=batch, height=15, width=9, layout="channels_last")
    tensors = [torch.randn_like(tensor) for tensor in case.tensors(torch.float32)]
    grad_output = torch.randn(batch, n, 8, 5)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            found.append(results(case, tensors, grad_output, "native"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own copies
@pytest.mark.parametrize(
    "dtype", [pytest.param(torch.float32, marks=pytest.mark.nightly), torch.bfloat16], ids=str
)  # tests/ops/test_dispatch.py does it in float32 on the same kernels
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "slice"])
def test_opcheck(layout, dtype, instruction_set):
    with native.each_instruction_set() as names:
        if instruction_set != next(names):
            pytest.skip("nothing that opcheck looks at depends on the instruction set")
    case = Case(HetPattern(4, 8, 3, 2), height=3, width=4, layout=layout)
    x, spatial, pointwise, bias = (tensor.requires_grad_() for tensor in case.tensors(dtype))
    grad = LAYOUTS[layout](integers((2, 8, 3, 4), dtype)).requires_grad_()
    where = ([1, 1], [1, 1], [1, 1], True)
    operators = torch.ops.hetconv
    torch.library.opcheck(operators.het_conv2d.default, (x, spatial, pointwise, bias, *where))
    torch.library.opcheck(operators.het_conv2d_input_grad.default, (grad, spatial, pointwise, [3, 4], *where))
    torch.library.opcheck(operators.het_conv2d_weight_grad.default, (grad, x, [3, 3], 2, *where))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_compiles_in_one_graph(layout):
    case = Case(HetPattern(4, 8, 3, 2), stride=2, padding=1, layout=layout)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda *tensors: het_conv2d(*tensors, **case.options).relu(), fullgraph=True, backend="aot_eager"
    )
    tensors, found = case.tensors(torch.float32), []
    for run in (compiled, lambda *tensors: het_conv2d(*tensors, backend="reference", **case.options).relu()):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        output = run(*leaves)
        found.append([output, *torch.autograd.grad(output.sum(), leaves)])
    assert all(map(torch.equal, *found))


def test_explain_and_refusals(instruction_set):
    case = Case(HetPattern(8, 8, 3, 2), padding=1)
    single = [tensor.float() for tensor in case.tensors()]
    found = explain(*single, **case.options)
    assert found.backend == "native"
    assert found.executed_macs["native"] == found.macs
    assert found.refused["decomposed"] == "native is faster"
    with pytest.raises(
        UsageError, match=r"^backend='native' cannot run: they compute in float32 and bfloat16, and x is torch.float64$"
    ):
        het_conv2d(*case.tensors(), backend="native", **case.options)
    assert native.instruction_set() == instruction_set


def test_says_once_that_and_why_the_kernels_are_missing(monkeypatch):
    monkeypatch.setattr(native, "_load", lambda: "the native kernels were not built: no compiler")
    x, *weights = Case(HetPattern(8, 8, 3, 2)).tensors(torch.float32)
    assert explain(x, *weights).refused["native"] == "the native kernels were not built: no compiler"
    native.warn_if_missing.cache_clear()
    with pytest.warns(UserWarning, match="several times slower: the native kernels were not built: no compiler"):
        native.warn_if_missing()
    native.warn_if_missing()
    with pytest.raises(UsageError, match="no compiler"):
        native.instruction_set()
    native.warn_if_missing.cache_clear()


def test_an_operation_of_pytorch_that_fails_is_an_error_with_its_reason():
    image = torch.zeros(1, 1, 1, 1).expand(2**30, 1, 1, 1)
    weights = (
        torch.zeros(2**18, 1, 1, 1),
        torch.zeros(2**18, 0),
    )  # an output of 2^50 bytes, more than there are addresses
    with pytest.raises(RuntimeError, match="hetconv: PyTorch could not do what the operator asked it for"):
        het_conv2d(image, *weights, backend="native")


def test_a_library_of_another_version_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_ENTRIES", {**native._ENTRIES, "hetconv_of_tomorrow": (None,)})
    reason = native._load.__wrapped__()
    assert "another version of hetconv" in reason
    assert "hetconv_of_tomorrow" in reason


def test_the_package_works_with_a_library_of_another_version():
    """Which has registered its operators, and lacks an entry."""
    code = """
import ctypes, warnings

class Older(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "hetconv_pack":
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Older
import hetconv, torch
with warnings.catch_warnings(record=True):
    print(tuple(hetconv.HetConv2d(8, 8, 3, p=2)(torch.ones(1, 8, 5, 5)).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 8, 3, 3)", done.stderr
