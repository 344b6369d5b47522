"""The kernel whose input stays in shared memory: its values on an emulated device, its code, and when it is tried."""

import ctypes
from dataclasses import replace

import pytest
import torch

from hetconv.errors import HetconvError
from hetconv.ops.arguments import geometry
from hetconv.ops.gpu import run
from hetconv.ops.gpu.halo import candidates, device, verdict
from hetconv.ops.gpu.halo.admit import Case, wrong
from hetconv.ops.gpu.halo.launch import halo_into, why_not_halo
from hetconv.ops.gpu.halo.source import source_of
from hetconv.ops.gpu.halo.tile import MOST_SHARED_BYTES, HaloConfiguration, HaloLayer, halo_candidates, positions_of
from hetconv.ops.gpu.product import Epilogue, Walk
from hetconv.ops.gpu.rows import PackedRows
from hetconv.pattern import HetPattern

from .conftest import INTERPRETED
from .halo_on_cpu import OnCpu, compiler

SMALL = HaloConfiguration(128, 32, 16, 16, 256, 2, 2, 1, 32)


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return OnCpu(tmp_path_factory.mktemp("halo"))


@pytest.mark.parametrize(
    "case",
    [
        Case(64, 64, 4, (5, 7), batch=2),  # several parts in a tile
        Case(64, 64, 4, (3, 70), padding=0, batch=1),  # strips
        Case(32, 64, 2, (9, 11), padding=3, dilation=2, batch=1),  # its input gradient has other tiles
        Case(48, 48, 3, (5, 9), dtype=torch.float16),  # a part for itself, and channels that only the 1×1 reads
    ],
    ids=str,
)
def test_small_integers_are_exact(case, device, on_cpu, monkeypatch):
    if device == "cpu":
        if compiler() is None:
            pytest.skip("there is no C++ compiler to emulate a GPU with")
        monkeypatch.setattr(run, "launch", on_cpu)
    elif torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("the kernel is for compute capability 9.0")
    assert list(wrong(case, torch.device(device))) == []


@pytest.mark.skipif(INTERPRETED, reason="in the interpreter's process nothing is compiled")
def test_compiled_code():
    """Registers suffice, and no product waits for another: both would be said by the assembler."""
    pytest.importorskip("cuda.bindings", reason="NVIDIA's bindings are not installed")
    one = replace(SMALL, filters=64)
    try:
        _, log = device.assembled(source_of(one, half=False))
    except Exception as error:
        if "DynamicLib" not in type(error).__name__:
            raise
        pytest.skip("NVRTC is not installed")
    assert "0 bytes spill stores, 0 bytes spill loads" in log
    assert "warpgroup" not in log
    assert "serialized" not in log
    with pytest.raises(HetconvError, match=r"^the halo kernel was not compiled: halo.cu\(1\): error"):
        device.assembled("nonsense")


@pytest.mark.parametrize("size", [7, 14, 28, 56, 112, 224])
@pytest.mark.parametrize(
    ("channels", "p"), [(64, 4), (64, 8), (128, 4), (128, 8), (256, 4), (256, 8), (512, 4), (512, 8)]
)
def test_every_common_layer_has_tiles_that_fit(channels, p, size):
    rows = PackedRows(channels, channels, p, 9, -(-16 * p // channels), 64)
    found = list(halo_candidates(rows, positions_of((size, size), (size, size), (1, 1), (1, 1)), (1, 1), (1, 1)))
    assert found
    for one in found:
        assert one.shared_bytes * one.resident <= MOST_SHARED_BYTES
        assert one.most_positions * one.block // 8 % 256 == 0
        assert channels % one.filters == 0


def test_what_it_does_not_take():
    positions = positions_of((8, 8), (8, 8), (1, 1), (1, 1))
    assert not list(halo_candidates(PackedRows(48, 48, 6, 9, 1, 16), positions, (1, 1), (1, 1)))  # 8 channels a part
    assert not list(halo_candidates(PackedRows(64, 64, 4, 9, 1, 64), positions, (3, 1), (1, 1)))  # padding of 3 rows
    pattern, walk = HetPattern(64, 64, 3, 4, "blocked"), Walk((1, 1), (-1, -1), (1, 1))
    assert why_not_halo(pattern, walk, torch.bfloat16) is None
    assert why_not_halo(pattern, walk, torch.float32) == "it multiplies bfloat16 and float16, and x is torch.float32"
    assert why_not_halo(pattern, replace(walk, step=(2, 2)), torch.bfloat16).startswith("it is for 3×3 kernels with")
    shifted = replace(pattern, arrangement="shifted")
    assert why_not_halo(shifted, walk, torch.bfloat16).startswith("it stores parts one after the other")


def test_tensors_that_it_cannot_read_are_refused():
    rows, walk = PackedRows(64, 64, 4, 9, 1, 64), Walk((1, 1), (-1, -1), (1, 1))
    x = torch.zeros(1, 64, 4, 4, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"^x has strides \(1024, 16, 4, 1\); channels must be adjacent"):
        halo_into(x, x, x, rows, walk, SMALL, Epilogue(), print)
    wide = torch.zeros(1, 64, 4, 300, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="is too small for rows of 62 positions"):
        halo_into(wide, wide, wide, rows, walk, replace(SMALL, most_positions=128), Epilogue(), print)


def test_pieces_of_tensors_are_copied_where_addresses_are_odd():
    rows, walk, seen = PackedRows(64, 64, 4, 9, 1, 64), Walk((1, 1), (-1, -1), (1, 1)), []
    x = torch.zeros(1, 64, 4, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    after = Epilogue(torch.zeros(65)[1:], torch.zeros_like(x))
    halo_into(x, x, x, rows, walk, SMALL, after, lambda one, blocks, tensors, layer: seen.append((tensors, layer)))
    ((tensors, layer),) = seen
    assert all(tensor.data_ptr() % 16 == 0 for tensor in tensors)
    assert (layer.bias_bytes, layer.has_residual, layer.tiles) == (4, 1, 2)


def test_launch_hands_over_addresses():
    """As a driver reads them: an array of addresses of the arguments."""
    tensors = [torch.zeros(4) for _ in range(5)]
    layer, seen = HaloLayer(positions=7, activation=2), []

    class Driver:
        def cuLaunchKernel(self, function, *numbers):  # noqa: N802
            *sizes, array, _ = numbers
            addresses = ctypes.cast(array, ctypes.POINTER(ctypes.c_void_p * 6)).contents
            pointers = [ctypes.cast(a, ctypes.POINTER(ctypes.c_void_p)).contents.value for a in addresses[:5]]
            seen.append((function, sizes, pointers, ctypes.cast(addresses[5], ctypes.POINTER(HaloLayer)).contents))
            return (0,)

    device.launch_with(Driver(), "halo", 99, SMALL, 3, tensors, layer)
    function, sizes, pointers, told = seen[0]
    assert (function, sizes) == ("halo", [3, 1, 1, 256, 1, 1, SMALL.shared_bytes, 99])
    assert pointers == [t.data_ptr() for t in tensors]
    assert (told.positions, told.activation) == (7, 2)


def test_it_is_tried_once_it_was_checked(tmp_path, monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(verdict, "why_not_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    said = verdict.why_not_admitted.__wrapped__
    one = torch.device("cuda", 0)
    assert said(one).endswith("python -m hetconv.ops.gpu.halo.admit checks it, in a minute")
    verdict.keep_verdict("a GPU", False, "3 values are wrong")
    assert said(one) == "it failed its check on this machine: 3 values are wrong"
    verdict.keep_verdict("a GPU", True, "")
    assert said(one) is None
    assert not candidates.takes(torch.zeros(1, 64, 4, 4))


def test_candidates_end_with_it_where_it_reads_the_tensors(monkeypatch):
    """The first one stays Triton's, which is taken where nothing may be timed; all read the same packed weights."""
    from hetconv.ops.gpu import forward, input_grad
    from hetconv.ops.gpu.configurations import Configuration, rows_for, rows_of

    for module in (forward, input_grad):
        monkeypatch.setattr(module, "takes", lambda x: True)
    x = torch.zeros(1, 128, 14, 14, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    pattern = HetPattern(128, 128, 3, 8, "blocked")
    found = forward.forward_candidates(x, pattern, geometry(1, 1, 1, (3, 3)))
    assert isinstance(found[0], Configuration)
    assert [one.positions for one in found if run.unproven(one)] == [256, 128]
    assert {rows_of(pattern, one) for one in found} == {rows_for(pattern, x.dtype)}
    back = input_grad.input_grad_candidates(x, (14, 14), pattern, geometry(1, 1, 1, (3, 3)))
    assert [one.positions for one in back if run.unproven(one)] == [256, 128]
    strided = forward.forward_candidates(x, pattern, geometry(2, 1, 1, (3, 3)))
    assert not any(run.unproven(one) for one in strided)
