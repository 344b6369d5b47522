"""The operators as PyTorch sees them: schema, fake kernels, compilation, export, autocast, transforms and FLOPs."""

import itertools

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.utils.flop_counter import FlopCounterMode

from hetconv import HetPattern, het_conv2d

from .case import LAYOUTS, Case, integers

operators = torch.ops.hetconv


def calls(case, shifted=True, dtype=torch.float64):
    """The three operators, each with arguments that belong to this case, of stride 1 and padding K // 2."""
    x, spatial, pointwise, *bias = case.tensors(dtype)
    kernel = list(case.pattern.kernel_hw)
    where = ([1, 1], [k // 2 for k in kernel], [1, 1], shifted)
    grad = LAYOUTS[case.layout](integers((case.batch, case.pattern.out_channels, case.height, case.width), dtype))
    yield operators.het_conv2d.default, (x, spatial, pointwise, bias[0] if bias else None, *where)
    yield operators.het_conv2d_input_grad.default, (grad, spatial, pointwise, [case.height, case.width], *where)
    yield operators.het_conv2d_weight_grad.default, (grad, x, kernel, case.pattern.p, *where)


@pytest.mark.parametrize(
    "case",
    [
        Case(HetPattern(4, 8, 3, 2), height=3, width=4),
        Case(HetPattern(4, 4, 3, 4, "blocked"), height=3, width=4, layout="channels_last", bias=False),
        Case(HetPattern(2, 2, 1, 1), height=2, width=3, layout="slice"),
    ],
    ids=lambda case: case.layout,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own copies
def test_opcheck(case, dtype):
    for operator, arguments in calls(case, case.pattern.arrangement == "shifted", dtype):
        leaves = [
            argument.requires_grad_() if isinstance(argument, torch.Tensor) else argument for argument in arguments
        ]
        torch.library.opcheck(operator, leaves)


@pytest.mark.parametrize("layout", [*LAYOUTS, "expanded"])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 2, 1), (2, 1, 1), (4, 4, 4), (4, 8, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # float32 has kernels of its own
def test_fake_strides_are_the_real_ones(sizes, layout, dtype, monkeypatch):
    """Also where one channel, a 1×1 map or an empty batch leaves strides free.

    Tensors on the device "meta" call the same fake kernels as `FakeTensorMode`, which takes far longer for each;
    `test_opcheck` goes through that.
    """
    monkeypatch.setitem(LAYOUTS, "expanded", lambda x: x[:, :, :1, :1].expand_as(x))
    in_channels, out_channels, p = sizes
    maps = [(1, 1), (1, 5), (5, 1), (3, 4)]
    for kernel, (height, width), batch in itertools.product((1, 3), maps, (0, 1, 2)):
        case = Case(HetPattern(in_channels, out_channels, kernel, p), 1, 0, 1, batch, height, width, layout)
        for operator, arguments in calls(case, dtype=dtype):
            pretended = operator(*map(without_numbers, arguments))
            for real, fake in zip(*map(as_tuple, (operator(*arguments), pretended)), strict=True):
                assert (real.shape, real.stride(), real.dtype) == (fake.shape, fake.stride(), fake.dtype), operator


def without_numbers(argument):
    """A tensor as one of the same sizes and strides on the device "meta"."""
    if not isinstance(argument, torch.Tensor):
        return argument
    return torch.empty_strided(argument.shape, argument.stride(), dtype=argument.dtype, device="meta")


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_has_the_memory_format_of_x(layout):
    case = Case(HetPattern(4, 8, 3, 2), padding=1, layout=layout)
    x, *weights = case.tensors()
    output = het_conv2d(x, *weights, **case.options)
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    assert output.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_compiles_in_one_graph(dynamic, layout):
    case = Case(HetPattern(4, 8, 3, 2), stride=2, padding=1, layout=layout)
    torch._dynamo.reset()

    def call(*tensors):
        return het_conv2d(*tensors, **case.options).relu()

    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for height, width in ((7, 7), (9, 4)):
        tensors = Case(case.pattern, height=height, width=width, layout=layout).tensors()
        results = []
        for run in (call, compiled):
            leaves = [tensor.detach().requires_grad_() for tensor in tensors]
            output = run(*leaves)
            results.append([output, *torch.autograd.grad(output.sum(), leaves)])
            results[-1] += [tensor.stride() for tensor in results[-1]]
        eager, graph = results
        assert all(map(torch.equal, eager[:5], graph[:5]))
        assert eager[5] == graph[5]


def test_dynamic_shapes_are_compiled_once():
    torch._dynamo.reset()
    counter = CompileCounter()
    case = Case(HetPattern(4, 8, 3, 2), padding=1)
    _, *weights = case.tensors()
    compiled = torch.compile(
        lambda x: het_conv2d(x, *weights, **case.options), fullgraph=True, dynamic=True, backend=counter
    )
    for batch, height, width in ((5, 7, 11), (3, 8, 9), (7, 31, 6)):  # first no two alike: PyTorch would tie them
        x = integers((batch, 4, height, width))
        assert torch.equal(compiled(x), het_conv2d(x, *weights, backend="reference", **case.options))
    assert counter.frame_count == 1


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_autocast(autocast):
    """As nn.Conv2d: float32 in the shorter type, float64 and whole numbers left alone."""
    tensors = Case(HetPattern(4, 8, 3, 2)).tensors()
    with torch.autocast("cpu", dtype=autocast):
        assert het_conv2d(*(tensor.float() for tensor in tensors)).dtype == autocast
        mixed = [tensor.float() for tensor in tensors]
        mixed[0] = mixed[0].to(autocast)
        assert het_conv2d(*mixed).dtype == autocast
        assert het_conv2d(*tensors).dtype == torch.float64
        assert het_conv2d(*(tensor.long() for tensor in tensors)).dtype == torch.int64


def test_backward_under_autocast_keeps_the_type_of_forward():
    case = Case(HetPattern(4, 8, 3, 2), padding=1)
    tensors = [(tensor + 1 / 512).float() for tensor in case.tensors()]  # bfloat16 would lose the fraction
    x = tensors[0].requires_grad_()
    output = het_conv2d(*tensors, **case.options)
    outside = torch.autograd.grad(output, x, output.detach(), retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.autograd.grad(output, x, output.detach())
    assert torch.equal(inside[0], outside[0])


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(("m", "n", "p"), [(8, 16, 4), (8, 8, 1), (16, 8, 8)])
@pytest.mark.parametrize("stride", [1, 2])
def test_flops_follow_the_closed_form(m, n, p, stride):
    """2 FLOPs a multiply-add: one for each weight and output position, forward and for each gradient."""
    case = Case(HetPattern(m, n, 3, p), stride, 1, height=9, width=9)
    tensors = case.tensors()
    side = 9 if stride == 1 else 5
    once = 2 * 2 * side * side * n * (9 * (m // p) + m - m // p)
    assert flops(lambda: het_conv2d(*tensors, **case.options)) == once
    for wanted, times in (((0,), 1), ((1, 2, 3), 1), ((0, 1, 2, 3), 2)):
        leaves = [tensor.detach().requires_grad_(i in wanted) for i, tensor in enumerate(tensors)]
        output = het_conv2d(*leaves, **case.options)
        assert flops(lambda output=output: output.backward(output.detach())) == times * once


def test_flops_of_p_1_are_those_of_a_standard_convolution():
    case = Case(HetPattern(4, 4, 3, 1), padding=1)
    x, spatial, pointwise, bias = case.tensors()
    dense = flops(lambda: torch.nn.functional.conv2d(x, spatial, bias, padding=1))
    assert flops(lambda: het_conv2d(x, spatial, pointwise, bias, padding=1)) == dense


@pytest.mark.parametrize("shape", [(3, 1, 4, 7, 7), (3, 4, 7, 7)])
def test_vmap_over_inputs(shape):
    _, *weights = Case(HetPattern(4, 8, 3, 2)).tensors()
    x = integers(shape)
    right = torch.stack([het_conv2d(one, *weights) for one in x])
    assert torch.equal(torch.func.vmap(lambda one: het_conv2d(one, *weights))(x), right)


def test_gradients_of_each_example():
    case = Case(HetPattern(4, 8, 3, 2), padding=1)
    x, *weights = case.tensors()

    def loss(weights, one):
        return het_conv2d(one, *weights, **case.options).pow(2).sum()

    leaves = [weight.requires_grad_() for weight in weights]
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))([weight.detach() for weight in weights], x)
    for i, one in enumerate(x):
        for got, right in zip(each, torch.autograd.grad(loss(leaves, one), leaves), strict=True):
            assert torch.equal(got[i], right)


def test_reverse_transforms_of_torch_func():
    case = Case(HetPattern(4, 8, 3, 2), padding=1)
    tensors = case.tensors()
    output, pull_back = torch.func.vjp(lambda *tensors: het_conv2d(*tensors, **case.options), *tensors)
    leaves = [tensor.requires_grad_() for tensor in tensors]
    right = torch.autograd.grad(het_conv2d(*leaves, **case.options), leaves, output)
    assert all(map(torch.equal, pull_back(output), right))
