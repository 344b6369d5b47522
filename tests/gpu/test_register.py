"""What the dispatcher runs for CUDA tensors: its checks, its fallback, and packed layers."""

import pytest
import torch

from hetconv import het_conv2d
from hetconv.errors import UsageError
from hetconv.ops.gpu import register, support
from hetconv.ops.gpu.configurations import rows_for
from hetconv.ops.gpu.packed_weights import pack_for_inference, pack_weights
from hetconv.ops.packed import layer_numbers
from hetconv.pattern import HetPattern

from .call import Call, integers, truth

OPERATORS = ("het_conv2d", "het_conv2d_input_grad", "het_conv2d_weight_grad", "het_conv2d_packed")
CALL = Call(HetPattern(16, 32, 3, 4), 2, 1, height=4, width=3)
WHERE = ([2, 2], [1, 1], [1, 1], True)


@pytest.fixture
def covered(device, monkeypatch):
    """As if every call were covered, wherever its tensors are."""
    monkeypatch.setattr(register, "why_not", lambda x, elements: None)
    return device


@pytest.mark.parametrize("name", OPERATORS)
def test_cuda_has_a_kernel(name):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"hetconv::{name}", "CUDA")


def test_the_three_operators(covered):
    tensors = CALL.tensors(integers)
    x, spatial, pointwise, bias, grad = (t.to(covered, torch.float32) for t in tensors)
    right = truth(CALL, tensors)
    assert torch.equal(register._forward(x, spatial, pointwise, bias, *WHERE).cpu(), right["output"].float())
    assert torch.equal(register._input_grad(grad, spatial, pointwise, [4, 3], *WHERE).cpu(), right["x"].float())
    for got, name in zip(
        register._weight_grad(grad, x, [3, 3], 4, *WHERE), ("weight_spatial", "weight_pointwise"), strict=True
    ):
        assert torch.equal(got.cpu(), right[name].float())


def test_packed(covered):
    tensors = CALL.tensors(integers)
    x, spatial, pointwise, bias, residual = (t.to(covered, torch.float32) for t in tensors)
    packed = pack_weights(spatial, pointwise, CALL.pattern, rows_for(CALL.pattern, x.dtype))
    numbers = layer_numbers(CALL.pattern, CALL.where, "relu")
    right = (truth(CALL, tensors)["output"] + tensors[4]).relu().float()
    assert torch.equal(register._packed(x, packed, bias, residual, numbers).cpu(), right)
    with pytest.raises(UsageError, match=r"^the weights were not packed for HetPattern.*pack it again$"):
        register._packed(x, packed[:-1], bias, residual, numbers)
    with pytest.raises(UsageError, match=r"^residual is torch.float32 \(1, 32, 1, 2\) on .*; it must be torch.float32"):
        register._packed(x, packed, bias, residual[:, :, 1:], numbers)


def test_what_is_not_covered_is_decomposed():
    """Here for the device; the values are the decomposed path's."""
    x, spatial, pointwise, bias, grad = CALL.tensors(integers)
    right = truth(CALL, (x, spatial, pointwise, bias, grad))
    assert torch.equal(register._forward(x, spatial, pointwise, bias, *WHERE), right["output"])
    assert torch.equal(register._input_grad(grad, spatial, pointwise, [4, 3], *WHERE), right["x"])
    assert torch.equal(register._weight_grad(grad, x, [3, 3], 4, *WHERE)[0], right["weight_spatial"])


def test_refusals_name_what_is_wrong():
    x, spatial, pointwise, bias, _ = CALL.tensors(integers)
    with pytest.raises(
        UsageError, match=r"^x has shape \(1, 15, 4, 3\); the weights are for \(batch, 16, height, width\)$"
    ):
        register._forward(x[:, 1:], spatial, pointwise, bias, *WHERE)
    with pytest.raises(
        UsageError, match=r"^x is torch.float64 on cpu, and what goes with it torch.float32 on cpu; conv"
    ):
        register._forward(x, spatial.float(), pointwise, bias, *WHERE)
    with pytest.raises(UsageError, match=r"^backend='triton' cannot run: it is for NVIDIA GPUs and x is on cpu$"):
        het_conv2d(x, spatial, pointwise, bias, backend="triton")
    with pytest.raises(UsageError, match=r"^weights cannot be packed: it is for NVIDIA GPUs and x is on cpu$"):
        pack_for_inference(spatial, pointwise, CALL.pattern)


def test_reasons(monkeypatch):
    class OnGpu:
        device, dtype, shape = torch.device("cuda:0"), torch.bfloat16, (2, 16, 4, 4)

        def stride(self):
            return (256, 1, 64, 16)

    monkeypatch.setattr(support, "_why_not_device", lambda device: None)
    monkeypatch.setattr(support, "why_not_installed", lambda: None)
    x = OnGpu()
    assert support.why_not(x, 512) is None
    assert support.why_not(x, 2**31) == "x or the output has 2147483648 elements or more; split the batch"
    monkeypatch.setattr(support, "why_not_installed", lambda: "Triton is not installed")
    assert support.why_not(x, 512) == "Triton is not installed"
    x.dtype = torch.float64
    assert support.why_not(x, 512) == "its kernels compute in bfloat16, float16 and float32, and x is torch.float64"


def test_precision_follows_the_convolutions():
    before = torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        assert support.multiplication(torch.float32) == "tf32"
        assert support.multiplication(torch.bfloat16) == "ieee"
        torch.backends.cudnn.allow_tf32 = False
        assert support.multiplication(torch.float32) == "ieee"
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_older_gpus_are_refused_in_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.version, "hip", None)
    reason = support._why_not_device.__wrapped__(torch.device("cuda:0"))
    assert reason == "it needs compute capability 8.0 or newer, and cuda:0 has 7.5"
