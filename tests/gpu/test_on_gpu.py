"""What only a GPU can show: compilation, CUDA graphs, autocast, bit-wise repeatability, choices by time."""

from itertools import islice

import pytest
import torch

from hetconv import HetConv2d, het_conv2d, pack
from hetconv.ops.check import check
from hetconv.ops.gpu.choices import choices

from .call import Call, HetPattern, integers


@pytest.fixture
def exact(gpu):
    torch.backends.cudnn.allow_tf32, before = False, torch.backends.cudnn.allow_tf32
    yield gpu
    torch.backends.cudnn.allow_tf32 = before


def layer(gpu, dtype=torch.bfloat16, p=4, arrangement="blocked"):
    return HetConv2d(64, 64, 3, padding=1, p=p, arrangement=arrangement).to(gpu, dtype)


def image(gpu, dtype=torch.bfloat16):
    return torch.randn(8, 64, 15, 17, device=gpu, dtype=dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_against_the_definition(dtype, exact):
    rows = list(islice(check(dtype, "cuda"), 100))  # each case compiles kernels of its own
    assert {row.backend for row in rows} == {"triton"}
    assert [row for row in rows if not row.passed] == []


def test_tf32_keeps_ten_bits(gpu):
    """Each factor is rounded to 11 significant bits: of 192 products, 2⁻¹⁰ of their absolute sum at most."""
    torch.backends.cudnn.allow_tf32, before = True, torch.backends.cudnn.allow_tf32
    try:
        one, x = layer(gpu, torch.float32), image(gpu, torch.float32)
        right = one.double()(x.double())
        one = one.float()
        allowed = 2**-10 * het_conv2d(x.abs(), one.weight_spatial.abs(), one.weight_pointwise.abs(), padding=1,
                                      arrangement="blocked", backend="decomposed").max()  # fmt: skip
        assert (one(x).double() - right).abs().max() <= allowed
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_same_bits_in_every_run(arrangement, gpu):
    one, x = layer(gpu, arrangement=arrangement), image(gpu).requires_grad_()
    found = []
    for _ in range(3):
        y = one(x)
        found.append((y, *torch.autograd.grad(y, (x, *one.parameters()), y.detach())))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_compiles_in_one_graph(gpu):
    one, x = layer(gpu), image(gpu)
    compiled = torch.compile(lambda x: one(x).relu(), fullgraph=True)
    assert torch.equal(compiled(x), one(x).relu())


def test_opcheck(exact):
    call = Call(HetPattern(16, 32, 3, 4), height=4, width=5)
    x, spatial, pointwise, bias, grad = (t.to(exact, torch.float32).requires_grad_() for t in call.tensors(integers))
    where = ([1, 1], [1, 1], [1, 1], True)
    operators = torch.ops.hetconv
    torch.library.opcheck(operators.het_conv2d.default, (x, spatial, pointwise, bias, *where))
    torch.library.opcheck(operators.het_conv2d_input_grad.default, (grad, spatial, pointwise, [4, 5], *where))
    torch.library.opcheck(operators.het_conv2d_weight_grad.default, (grad, x, [3, 3], 4, *where))


def test_cuda_graph(gpu):
    one, x = layer(gpu), image(gpu)
    with torch.no_grad():
        right = one(x)  # the choice is made before the graph is recorded
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            y = one(x)
        x.mul_(2)
        graph.replay()
        assert torch.equal(y, one(x))
    assert not torch.equal(y, right)


def test_autocast(gpu):
    one, x = layer(gpu, torch.float32), image(gpu, torch.float32)
    with torch.autocast("cuda", torch.bfloat16):
        y = one(x)
    assert y.dtype == torch.bfloat16
    assert one.weight_spatial.grad is None
    y.sum().backward()
    assert one.weight_spatial.grad.dtype == torch.float32


def test_packed_layer(gpu):
    one, x = layer(gpu), image(gpu)
    packed = pack(one, "relu")
    with torch.no_grad():
        y = packed(x, x)
        right = (one.double()(x.double()) + x.double()).relu()
    assert (y.double() - right).abs().max() <= 2**-8 * right.abs().max()


def test_a_choice_is_timed_once(gpu):
    torch.use_deterministic_algorithms(False)
    one, x = layer(gpu, p=2), image(gpu)
    with torch.no_grad():
        one(x)
        trials = dict(choices().trials)
        one(x)
    assert choices().trials == trials
    chosen = next(key for key in trials if key[0][0] == "forward" and key[0][1] == one.pattern and not key[3][1])
    assert choices().chosen[chosen] in [trial.configuration for trial in trials[chosen]]
