"""Kernels are compiled for GPUs without one: that Triton accepts them, and what the compiler makes of them."""

from pathlib import Path

import pytest
import torch

from hetconv.ops.gpu.configurations import candidates, weight_grad_candidates
from hetconv.pattern import HetPattern

from .conftest import INTERPRETED

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = pytest.mark.skipif(INTERPRETED, reason="in the interpreter's process nothing is compiled")
BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
BFLOAT16 = (torch.bfloat16, "ieee")


@pytest.fixture(autouse=True)
def gpu_compiled(tmp_path, monkeypatch):
    """Its compilers, with a cache of their own."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_compiled

    return gpu_compiled


@pytest.mark.parametrize("p", [4, 16])
def test_loads_are_wide_and_products_on_matrix_units(p, gpu_compiled):
    """What the first choice for wide (P4) and for narrow parts (P16) is made of; none of it without vectors."""
    pattern = HetPattern(256, 256, 3, p)
    one = candidates(256, 256, p, (28, 28), *BFLOAT16)[0]
    found = gpu_compiled.compiled_product(pattern, one)
    assert "wgmma.mma_async" in found.ptx
    assert "cp.async.cg.shared.global" in found.ptx  # 16 bytes; shorter ones are .ca, or plain loads
    assert "cp.async.ca" not in found.ptx
    assert "st.global.v4" in found.ptx or "st.global.v2" in found.ptx
    assert "st.global.b16" not in found.ptx
    assert found.shared_bytes == one.shared_bytes(2, (9, 0))
    assert gpu_compiled.registers(found.ptx)[1] == 0


def test_devices_without_wgmma(gpu_compiled):
    """Compute capability 8.0: other instructions, a step less in shared memory, which is what configurations count."""
    one = candidates(256, 256, 4, (28, 28), *BFLOAT16)[0]
    found = gpu_compiled.compiled_product(HetPattern(256, 256, 3, 4), one, (8, 0))
    assert found.instruction == "mma m16n8k16"
    assert found.shared_bytes == one.shared_bytes(2, (8, 0)) < one.shared_bytes(2, (9, 0))


def test_halved_loads_go_through_the_l1_cache(gpu_compiled):
    found = candidates(256, 256, 4, (28, 28), *BFLOAT16)
    one = next(one for one in found if one.halved)
    assert "cp.async.ca.shared.global" in gpu_compiled.compiled_product(HetPattern(256, 256, 3, 4), one).ptx


def test_strided_input_gradient_compiles(gpu_compiled):
    chosen = candidates(128, 128, 4, (28, 28), *BFLOAT16)[0]
    strided = gpu_compiled.STRIDED
    assert (
        "wgmma" in gpu_compiled.compiled_product(HetPattern(128, 128, 3, 4), chosen, EVEN=False, **strided).instruction
    )


def test_weight_gradients(gpu_compiled):
    pattern = HetPattern(256, 256, 3, 4)
    one = weight_grad_candidates(pattern, *BFLOAT16)[0]
    found = gpu_compiled.compiled_weight_grad(pattern, one)
    assert found.instruction == "wgmma m64n128k16, wgmma m64n64k16"
    assert found.shared_bytes == one.shared_bytes(2, (9, 0))
