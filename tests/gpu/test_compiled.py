"""Kernels are compiled for a GPU without one: that Triton accepts them, and what the compiler makes of their loads."""

import os

import pytest
import torch

from hetconv.ops.gpu.configurations import candidates
from hetconv.ops.gpu.rows import PackedRows
from hetconv.pattern import HetPattern

from .conftest import INTERPRETED

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = pytest.mark.skipif(INTERPRETED, reason="in the interpreter's process nothing is compiled")
ALIGNED = ["in_channels", "out_channels", "part_filters", "columns", "row", "x_batch", "x_row", "x_pixel"]
ALIGNED += ["y_batch", "y_row", "y_pixel", "x", "weight", "bias", "residual", "y"]
PLAIN = {
    "KERNEL_HEIGHT": 3, "KERNEL_WIDTH": 3, "SHIFTED": False, "HAS_BIAS": True, "HAS_RESIDUAL": True, "WIDEN": False,
    "ACTIVATION": "relu", "PRECISION": "ieee", "RESIDUES": False, "STRIDE_H": 1, "STRIDE_W": 1, "PADDING_H": 1,
    "PADDING_W": 1, "DILATION_H": 1, "DILATION_W": 1, "COMMON_H": 1, "COMMON_W": 1, "INVERSE_H": 0, "INVERSE_W": 0,
}  # fmt: skip
STRIDED = {"RESIDUES": True, "STRIDE_H": 2, "STRIDE_W": 2, "INVERSE_H": 1, "INVERSE_W": 1}


def assembled(pattern, configuration, **changed):
    """The PTX for compute capability 9.0 of a layer whose sizes are multiples of 16, channels-last."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from hetconv.ops.gpu.kernels.convolve import convolve

    rows = PackedRows.of(pattern, configuration.merge, configuration.block_k)
    one = configuration
    constants = PLAIN | {
        "OWN": rows.own, "BLOCK_FILTERS": one.block_filters, "BLOCK_PIXELS": one.block_pixels, "BLOCK_K": one.block_k,
        "TILE_WIDTH": one.tile_width, "PARTS": one.parts, "FILTER_ROWS": one.filter_rows, "HALVED": 4 * one.halved,
        "EVEN": rows.even, "y_channel": 1,
    } | changed  # fmt: skip
    tensors = ("x", "weight", "bias", "residual", "y")
    signature = {
        name: "constexpr" if name in constants else "*bf16" if name in tensors else "i32" for name in convolve.arg_names
    }
    attributes = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(convolve.arg_names) if name in ALIGNED}
    source = ASTSource(convolve, signature, constants, attributes)
    options = {"num_warps": one.warps, "num_stages": one.stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return compiled.asm["ptx"]


@pytest.fixture(autouse=True)
def _compiler_cache(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("p", [4, 16])
def test_loads_are_wide_and_products_on_matrix_units(p):
    """What the first choice for wide (P4) and for narrow parts (P16) is made of; none of it without vectors."""
    pattern = HetPattern(256, 256, 3, p)
    ptx = assembled(pattern, candidates(256, 256, p, (28, 28), torch.bfloat16, "ieee")[0])
    assert "wgmma.mma_async" in ptx
    assert "cp.async.cg.shared.global" in ptx  # 16 bytes; shorter ones are .ca, or plain loads
    assert "cp.async.ca" not in ptx
    assert "st.global.v4" in ptx or "st.global.v2" in ptx
    assert "st.global.b16" not in ptx


def test_halved_loads_go_through_the_l1_cache():
    found = candidates(256, 256, 4, (28, 28), torch.bfloat16, "ieee")
    ptx = assembled(HetPattern(256, 256, 3, 4), next(one for one in found if one.halved))
    assert "cp.async.ca.shared.global" in ptx


def test_strided_input_gradient_compiles():
    pattern = HetPattern(128, 128, 3, 4)
    chosen = candidates(128, 128, 4, (28, 28), torch.bfloat16, "ieee")[0]
    assert "mma" in assembled(pattern, chosen, EVEN=False, **STRIDED)
