"""What Triton's compiler makes of each configuration, for GPUs that need not be there: a table of registers and memory.

    python benchmarks/gpu_compiled.py

3×3 layers in bfloat16, channels-last, sizes multiples of 16: every configuration that the common layers are tried with.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hetconv.ops.gpu.configurations import Configuration, WeightGradConfiguration, candidates, weight_grad_candidates
from hetconv.ops.gpu.kernels.accumulate import accumulate
from hetconv.ops.gpu.kernels.convolve import convolve
from hetconv.ops.gpu.rows import PackedRows
from hetconv.ops.gpu.support import Device
from hetconv.pattern import HetPattern

DEVICES = {"8.0": Device((8, 0), 166_912), "9.0": Device((9, 0), 232_448)}
"""With the shared memory that one program can have."""
LAYERS = ((64, 4), (128, 4), (128, 8), (256, 4), (256, 8), (512, 4), (512, 8), (512, 512))
"""(channels, P)"""
PLAIN = {
    "KERNEL_HEIGHT": 3, "KERNEL_WIDTH": 3, "SHIFTED": False, "HAS_BIAS": True, "HAS_RESIDUAL": True, "WIDEN": False,
    "ACTIVATION": "relu", "PRECISION": "ieee", "RESIDUES": False, "STRIDE_H": 1, "STRIDE_W": 1, "PADDING_H": 1,
    "PADDING_W": 1, "DILATION_H": 1, "DILATION_W": 1, "COMMON_H": 1, "COMMON_W": 1, "INVERSE_H": 0, "INVERSE_W": 0,
}  # fmt: skip
STRIDED = {"RESIDUES": True, "STRIDE_H": 2, "STRIDE_W": 2, "INVERSE_H": 1, "INVERSE_W": 1}
MULTIPLES_OF_16 = ["in_channels", "out_channels", "part_filters", "columns", "row", "split_positions"]
MULTIPLES_OF_16 += [f"{tensor}_{axis}" for tensor in ("x", "y", "grad") for axis in ("batch", "row", "pixel")]


@dataclass(frozen=True)
class Compiled:
    """PTX, and the shared memory of one program in bytes."""

    ptx: str
    shared_bytes: int

    @property
    def instruction(self) -> str:
        """The matrix instructions: of 9.0, else of 8.0."""
        found = sorted(set(re.findall(r"wgmma\.mma_async\.sync\.aligned\.(m64n\d+k\d+)", self.ptx)))
        plain = sorted(set(re.findall(r"mma\.sync\.aligned\.(m16n8k\d+)", self.ptx)))
        return ", ".join(["wgmma " + name for name in found] or ["mma " + name for name in plain])


def compiled_product(
    pattern: HetPattern, one: Configuration, capability: tuple[int, int] = (9, 0), **changed: object
) -> Compiled:
    """`convolve` with bias, residual and activation."""
    rows = PackedRows.of(pattern, one.merge, one.block_k)
    constants = PLAIN | {
        "OWN": rows.own, "BLOCK_FILTERS": one.block_filters, "BLOCK_PIXELS": one.block_pixels, "BLOCK_K": one.block_k,
        "TILE_WIDTH": one.tile_width, "PARTS": one.parts, "FILTER_ROWS": one.filter_rows, "HALVED": 4 * one.halved,
        "EVEN": rows.even, "y_channel": 1,
    } | changed  # fmt: skip
    tensors = dict.fromkeys(("x", "weight", "bias", "residual", "y"), "*bf16")
    return _compiled(convolve, tensors, constants, one, capability)


def compiled_weight_grad(
    pattern: HetPattern, one: WeightGradConfiguration, capability: tuple[int, int] = (9, 0)
) -> Compiled:
    """`accumulate`."""
    constants = {
        "OWN": PackedRows.of(pattern, one.merge, 8).own, "KERNEL_HEIGHT": 3, "KERNEL_WIDTH": 3, "WIDEN": False,
        "BLOCK_FILTERS": one.block_filters, "BLOCK_COLUMNS": one.block_columns, "BLOCK_PIXELS": one.block_pixels,
        "RING_FILTERS": one.ring_filters, "PRECISION": "ieee",
    }  # fmt: skip
    return _compiled(accumulate, {"grad": "*bf16", "x": "*bf16", "partial": "*fp32"}, constants, one, capability)


def _compiled(
    kernel: triton.JITFunction,
    tensors: dict[str, str],
    constants: dict[str, object],
    one: Configuration | WeightGradConfiguration,
    capability: tuple[int, int],
) -> Compiled:
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else tensors.get(name, "i32") for name in names}
    aligned = {*MULTIPLES_OF_16, *tensors}
    attributes = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name in aligned}
    target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)
    options = {"num_warps": one.warps, "num_stages": one.stages}
    found = triton.compile(ASTSource(kernel, signature, constants, attributes), target=target, options=options)
    return Compiled(found.asm["ptx"], found.metadata.shared)


def registers(ptx: str) -> tuple[int, int]:
    """Registers of a thread, and bytes that it spills, as NVIDIA's assembler says."""
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    assert target is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.ptx")
        path.write_text(ptx)
        command = [knobs.nvidia.ptxas.path, "-v", f"--gpu-name={target[1]}", str(path), "-o", str(Path(folder, "out"))]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    (used,), (spilled,) = re.findall(r"Used (\d+) registers", said), re.findall(r"(\d+) bytes spill stores", said)
    return int(used), int(spilled)


def table() -> Iterator[str]:
    yield "| kernel, tile | capability | instruction | warps, stages | registers | spilled bytes | shared memory, KiB |"
    yield "|---|---|---|---|---|---|---|"
    seen = set()
    for channels, p in LAYERS:
        pattern = HetPattern(channels, channels, 3, p, "blocked")
        for name, device in DEVICES.items():
            kind = (torch.bfloat16, "ieee", device)
            product = candidates(channels, channels, p, (28, 28), *kind)
            for one in (*product, *weight_grad_candidates(pattern, *kind)):
                if (name, one) not in seen:
                    seen.add((name, one))
                    yield _row(pattern, one, name, device)


def _row(pattern: HetPattern, one: Configuration | WeightGradConfiguration, name: str, device: Device) -> str:
    if isinstance(one, Configuration):
        found = compiled_product(pattern, one, device.capability)
        tile = f"{one.parts} × {one.block_filters} × {one.block_pixels}{', squares, L1' if one.halved else ''}"
    else:
        found = compiled_weight_grad(pattern, one, device.capability)
        tile = f"weight gradients, {one.block_columns} × {one.block_filters}, rings of {one.ring_filters}"
    used, spilled = registers(found.ptx)
    room = "" if found.shared_bytes <= device.shared_bytes else " (too much)"
    memory = f"{found.shared_bytes / 1024:.0f}{room}"
    return f"| {tile} | {name} | {found.instruction} | {one.warps}, {one.stages} | {used} | {spilled} | {memory} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
