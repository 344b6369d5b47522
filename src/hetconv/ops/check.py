"""The layer against its definition, on this machine: what `hetconv check` runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hetconv.ops import native
from hetconv.ops.explain import explain
from hetconv.ops.functional import het_conv2d
from hetconv.pattern import Arrangement, HetPattern

SHAPES = ((16, 32, 3, 1, 1), (24, 24, 5, 2, 1), (64, 64, 3, 1, 2), (6, 12, 7, 3, 1), (48, 16, 1, 1, 1))
"""(in_channels, out_channels, kernel_size, stride, dilation)"""
INPUT_HW = (15, 13)
NAMES = ("output", "x gradient", "weight_spatial gradient", "weight_pointwise gradient", "bias gradient")


@dataclass(frozen=True)
class CheckRow:
    """One tensor of one case: its error against float64, and the error that is allowed.

    The budget is twice the error of PyTorch's dense convolution in the same type, plus a few roundings.
    """

    case: str
    backend: str
    tensor: str
    error: float
    budget: float

    @property
    def passed(self) -> bool:
        return self.error <= self.budget


def check(dtype: torch.dtype = torch.float32, device: str = "cpu") -> Iterator[CheckRow]:
    """Compare what `het_conv2d` runs here, forward and gradients, with the masked dense convolution in float64.

    On a CPU with the native kernels, on every instruction set that it has.
    """
    if device != "cpu" or native.why_not_loaded() is not None:
        yield from _check_shapes(dtype, device, "")
        return
    with native.each_instruction_set() as names:
        for name in names:
            yield from _check_shapes(dtype, device, f" ({name})")


def _check_shapes(dtype: torch.dtype, device: str, instruction_set: str) -> Iterator[CheckRow]:
    generator = torch.Generator().manual_seed(0)
    arrangements: tuple[Arrangement, ...] = ("shifted", "blocked")
    for shape, p, arrangement in itertools.product(SHAPES, (1, 2, 3, 4, 8, 16), arrangements):
        in_channels, out_channels, *rest = shape
        if in_channels % p or out_channels % p:
            continue
        for memory_format in (torch.channels_last, torch.contiguous_format):
            pattern = HetPattern(in_channels, out_channels, rest[0], p, arrangement)
            for row in _check_case(pattern, rest[1], rest[2], memory_format, dtype, device, generator):
                yield replace(row, backend=row.backend + instruction_set)


def _check_case(
    pattern: HetPattern,
    stride: int,
    dilation: int,
    memory_format: torch.memory_format,
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
) -> Iterator[CheckRow]:
    shapes = (
        (2, pattern.in_channels, *INPUT_HW),
        pattern.spatial_shape,
        pattern.pointwise_shape,
        (pattern.out_channels,),
    )
    exact = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    given = [tensor.to(device, dtype) for tensor in exact]
    given[0] = given[0].contiguous(memory_format=memory_format)
    options = {"stride": stride, "padding": pattern.kernel_hw[0] // 2, "dilation": dilation}
    truth = _everything([tensor.to(dtype).double() for tensor in exact], pattern, "reference", options)
    ours = _everything(given, pattern, None, options)
    peer = _everything(given, pattern, "reference", options)
    layout = "channels-last" if memory_format == torch.channels_last else "contiguous"
    case = (
        f"{pattern.in_channels}→{pattern.out_channels} K{pattern.kernel_hw[0]} P{pattern.p} {pattern.arrangement} "
        f"stride {stride} dilation {dilation} {layout}"
    )
    backend = explain(*given, arrangement=pattern.arrangement, **options).backend  # type: ignore[arg-type]
    for name, right, got, usual in zip(NAMES, truth, ours, peer, strict=True):
        floor = 8 * torch.finfo(dtype).eps * float(right.abs().max()) if right.numel() else 0.0
        yield CheckRow(case, backend, name, _error(got, right), 2 * _error(usual, right) + floor)


def _everything(
    tensors: list[Tensor], pattern: HetPattern, backend: str | None, options: dict[str, int]
) -> list[Tensor]:
    """The output and the four gradients of the sum of its squares' halves."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = het_conv2d(*leaves, arrangement=pattern.arrangement, backend=backend, **options)  # type: ignore[arg-type]
    return [output.detach(), *torch.autograd.grad(output, leaves, output.detach())]


def _error(got: Tensor, right: Tensor) -> float:
    """Largest absolute difference; infinite where something is not finite."""
    if got.shape != right.shape or not bool(torch.isfinite(got).all()):
        return float("inf")
    return float((got.double().cpu() - right).abs().max()) if right.numel() else 0.0
