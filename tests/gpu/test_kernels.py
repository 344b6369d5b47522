"""Forward, input gradient and weight gradients against the reference, exactly where integers allow it."""

import itertools

import pytest
import torch

from hetconv.ops.gpu.product import Epilogue
from hetconv.pattern import HetPattern

from .call import CONFIGURATIONS, Call, computed, integers, stored, truth

# M, N, P: P from 1 to M, powers of two and not, channels that fill no step, parts narrower than 16 filters.
CHANNELS = [(16, 32, 1), (32, 48, 2), (16, 32, 4), (12, 24, 6), (8, 8, 8), (6, 9, 3), (3, 5, 1)]
ONE_OF_TWO = [(channels, ("shifted", "blocked")[i % 2]) for i, channels in enumerate(CHANNELS)]
"""Every channels and every arrangement, though not each of both: the rest is for the night."""
GEOMETRY = [(3, 1, 1, 1), (3, 2, 1, 1), (5, (2, 3), 4, (2, 1)), (1, 1, 0, 1), ((1, 3), 2, 3, 2), (3, 3, 2, (1, 3))]


def assert_exact(call, device, dtype, configuration, merge=1):
    tensors = call.tensors(integers)
    found = computed(call, tensors, device, dtype, configuration, merge)
    for name, right in truth(call, tensors).items():
        assert torch.equal(found[name], stored(right, dtype, device)), name


@pytest.mark.parametrize(
    ("channels", "arrangement"),
    [
        pytest.param(*case, marks=() if case in ONE_OF_TWO else pytest.mark.nightly)
        for case in itertools.product(CHANNELS, ("shifted", "blocked"))
    ],
    ids=str,
)
def test_small_integers_are_exact(channels, arrangement, device):
    m, n, p = channels
    names = [name for name, one in CONFIGURATIONS.items() if p % one.parts == 0]
    first = 0 if arrangement == "shifted" else 1  # the rest is for the other arrangement
    for i, (kernel, stride, padding, dilation) in list(enumerate(GEOMETRY))[first::2]:
        call = Call(HetPattern(m, n, kernel, p, arrangement), stride, padding, dilation)
        assert_exact(call, device, torch.float32, CONFIGURATIONS[names[(i + m) % len(names)]])


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_kind_of_configuration(name, device):
    for kernel, stride, padding, dilation in GEOMETRY[:2]:
        call = Call(HetPattern(32, 32, kernel, 2), stride, padding, dilation)
        assert_exact(call, device, torch.float32, CONFIGURATIONS[name])


@pytest.mark.parametrize("merge", [pytest.param(1, marks=pytest.mark.nightly), 2, 4])
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_merged_parts(merge, arrangement, device):
    for stride in (1, 2):
        call = Call(HetPattern(16, 24, 3, 4, arrangement), stride)
        assert_exact(call, device, torch.float32, CONFIGURATIONS["pixels as rows"], merge)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("filters as rows", torch.bfloat16),
        ("two parts", torch.float16),
        pytest.param("filters as rows", torch.float16, marks=pytest.mark.nightly),
        pytest.param("two parts", torch.bfloat16, marks=pytest.mark.nightly),
    ],
    ids=str,
)
def test_short_types_are_rounded_once(name, dtype, device):
    call = Call(HetPattern(32, 32, 3, 2))
    assert_exact(call, device, dtype, CONFIGURATIONS[name])


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 17), (3, 17, 1), (9, 2, 2), (0, 4, 4)], ids=str)
def test_odd_sizes(size, device):
    batch, height, width = size
    for name in ("pixels as rows", "square tiles through L1"):
        call = Call(HetPattern(16, 16, 3, 2), 1, 1, 1, batch, height, width)
        assert_exact(call, device, torch.float32, CONFIGURATIONS[name])


@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_contiguous_memory(arrangement, device):
    call = Call(HetPattern(16, 32, 3, 2, arrangement), memory_format=torch.contiguous_format)
    assert_exact(call, device, torch.float32, CONFIGURATIONS["filters as rows"])


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # numpy's word, in the interpreter; 1/∞ is meant
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "silu"])
def test_epilogue(activation, device):
    """silu: two roundings of float32 for the exponential and the quotient, at values of at most 100."""
    from hetconv.ops.gpu.forward import forward

    call = Call(HetPattern(16, 32, 3, 2), batch=2)
    x, spatial, pointwise, bias, residual = call.tensors(integers)
    total = truth(call, (x, spatial, pointwise, bias, residual))["output"] + residual
    act = {None: lambda t: t, "silu": torch.nn.functional.silu}.get(activation) or getattr(
        torch.nn.functional, activation
    )
    for name in ("pixels as rows", "filters as rows"):
        tensors = (t.to(device, torch.float32) for t in (x, spatial, pointwise))
        after = Epilogue(bias.to(device, torch.float32), residual.to(device, torch.float32), activation)
        y = forward(*tensors, after, call.pattern, call.where, CONFIGURATIONS[name]).cpu()
        if activation == "silu":
            assert (y - act(total)).abs().max() <= 100 * 4 * torch.finfo(torch.float32).eps
        else:
            assert torch.equal(y, act(total).float())


def test_relu_keeps_nan(device):
    from hetconv.ops.gpu.forward import forward

    call = Call(HetPattern(16, 16, 3, 2), batch=2)
    x, spatial, pointwise, bias, _ = (t.to(device, torch.float32) for t in call.tensors(integers))
    x[0, 0, 0, 0] = float("nan")
    y = forward(
        x, spatial, pointwise, Epilogue(bias, None, "relu"), call.pattern, call.where, CONFIGURATIONS["pixels as rows"]
    )
    assert y[0, :, 0, 0].isnan().all()
    assert not y[1].isnan().any()


def test_padding_reads_nothing_of_its_neighbours(device):
    """What lies before and behind x in memory is infinite; zero times infinity would be seen."""
    call = Call(HetPattern(6, 9, 3, 3), batch=1)
    tensors = call.tensors(integers)
    around = torch.full((3, 5, 7, 6), float("inf"))
    around[1] = tensors[0][0].permute(1, 2, 0)
    x = around.to(device).permute(0, 3, 1, 2)[1:2]
    from hetconv.ops.gpu.forward import forward

    weights = [t.to(device, torch.float32) for t in tensors[1:4]]
    y = forward(x, *weights[:2], Epilogue(weights[2]), call.pattern, call.where, CONFIGURATIONS["pixels as rows"])
    assert torch.equal(y.cpu(), truth(call, tensors)["output"].float())


@pytest.mark.parametrize("name", ["pixels as rows", "filters as rows"])
def test_error_budget(name, device):
    """At most twice the error of PyTorch's dense convolution, plus two roundings of the largest value."""
    call = Call(HetPattern(48, 32, 3, 2))
    tensors = [tensor.float().double() for tensor in call.tensors(torch.randn)]
    exact, usual = truth(call, tensors), truth(call, [tensor.float() for tensor in tensors])
    torch.backends.cudnn.allow_tf32, before = False, torch.backends.cudnn.allow_tf32
    try:
        found = computed(call, tensors, device, torch.float32, CONFIGURATIONS[name])
    finally:
        torch.backends.cudnn.allow_tf32 = before
    for key, right in exact.items():
        allowed = 2 * (usual[key] - right).abs().max() + 2 * torch.finfo(torch.float32).eps * right.abs().max()
        assert (found[key] - right).abs().max() <= allowed, key


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.nightly)], ids=str)
def test_what_is_chosen_without_a_measurement(dtype, device):
    """The configurations that a first call takes, each once: wide parts, narrow parts, merged parts."""
    for m, n, p in ((64, 128, 2), (64, 64, 2), (32, 64, 16)):
        assert_exact(Call(HetPattern(m, n, 3, p), height=3, width=5), device, dtype, None)
