"""Checks the halo kernel on this machine's GPU, in a process of its own: python -m hetconv.ops.gpu.halo.admit.

Small integers, whose sums are exact in any order, against float64. What is found is kept for other processes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hetconv.ops import reference
from hetconv.ops.arguments import Geometry
from hetconv.ops.gpu.configurations import rows_for
from hetconv.ops.gpu.forward import forward
from hetconv.ops.gpu.halo.candidates import candidates_of
from hetconv.ops.gpu.halo.device import compiled, why_not_device
from hetconv.ops.gpu.halo.tile import HaloConfiguration
from hetconv.ops.gpu.halo.verdict import keep_verdict
from hetconv.ops.gpu.input_grad import input_grad
from hetconv.ops.gpu.product import Epilogue, forward_walk, input_grad_walk
from hetconv.pattern import HetPattern


@dataclass(frozen=True)
class Case:
    """A layer that `halo.cu` is checked with."""

    in_channels: int
    out_channels: int
    p: int
    size: tuple[int, int]
    padding: int = 1
    dilation: int = 1
    batch: int = 3
    dtype: torch.dtype = torch.bfloat16

    @property
    def pattern(self) -> HetPattern:
        return HetPattern(self.in_channels, self.out_channels, 3, self.p, "blocked")

    @property
    def where(self) -> Geometry:
        return Geometry((1, 1), (self.padding, self.padding), (self.dilation, self.dilation))

    @property
    def out_hw(self) -> tuple[int, int]:
        return self.where.output_hw(self.size, (3, 3))

    def forward(self) -> tuple[HaloConfiguration, ...]:
        """What the forward pass is tried with."""
        rows = rows_for(self.pattern, self.dtype)
        return candidates_of(self.pattern, rows, self.size, self.out_hw, forward_walk(self.where), self.dtype)

    def backward(self) -> tuple[HaloConfiguration, ...]:
        """What the input gradient is tried with."""
        rows = rows_for(self.pattern, self.dtype).exchanged()
        return candidates_of(self.pattern, rows, self.out_hw, self.size, input_grad_walk(self.where), self.dtype)


CASES = (
    Case(128, 128, 4, (14, 14)),
    Case(128, 128, 8, (13, 17), dtype=torch.float16),
    Case(256, 256, 4, (28, 28)),
    Case(512, 512, 4, (7, 7)),
    Case(64, 64, 4, (9, 150)),
    Case(64, 128, 2, (20, 11), padding=0, dilation=2),
    Case(96, 96, 6, (10, 10), padding=2, batch=1),
)
"""Every width of a ring; images in strips and not; rows of odd length; every padding that a dilation allows."""


def wrong(case: Case, device: torch.device) -> Iterator[str]:
    """What is wrong in the forward pass and in the input gradient of a case, configuration by configuration."""
    torch.manual_seed(0)
    pattern, where = case.pattern, case.where
    sizes = ((case.batch, pattern.in_channels, *case.size), pattern.spatial_shape, pattern.pointwise_shape)
    wide, *weights, shift = (_integers(size).requires_grad_() for size in (*sizes, (pattern.out_channels,)))
    residual = _integers((case.batch, pattern.out_channels, *case.out_hw))
    x, spatial, pointwise, bias, more = (
        t.detach().to(device, case.dtype, memory_format=torch.channels_last if t.dim() == 4 else torch.preserve_format)
        for t in (wide, *weights, shift, residual)
    )
    right = reference.het_conv2d(wide, weights[0], weights[1], shift, pattern, where)
    (grad,) = torch.autograd.grad(right, wide, residual)
    after = Epilogue(bias, more, "relu")
    for one in case.forward():
        y = forward(x, spatial, pointwise, after, pattern, where, one)
        yield from _differs(f"{case}, {one}", y, F.relu(right.detach() + residual))
    for one in case.backward():
        got = input_grad(more, spatial, pointwise, case.size, pattern, where, one)
        yield from _differs(f"{case}, input gradient, {one}", got, grad)


def _integers(size: tuple[int, ...]) -> Tensor:
    return torch.randint(-2, 3, size).double()


def _differs(name: str, got: Tensor, right: Tensor) -> Iterator[str]:
    right = right.to(got.dtype)
    if not torch.equal(got.cpu(), right):
        yield f"{name}: {int((got.cpu() != right).sum())} of {right.numel()} values are wrong"


def main() -> None:
    """Print what is wrong, and keep the verdict; exit status 1 if the kernel is not admitted.

    Raises:
        SystemExit: there is no GPU for the kernel.
    """
    reason = why_not_device(torch.device("cuda", 0)) if torch.cuda.is_available() else "there is no GPU"
    if reason is not None:
        sys.exit(f"the halo kernel was not checked: {reason}")
    name = torch.cuda.get_device_name(0)
    keep_verdict(name, False, "the check did not come to its end")
    needed = {(one, case.dtype == torch.float16) for case in CASES for one in (*case.forward(), *case.backward())}
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda pair: compiled(*pair), needed))
    found = [line for case in CASES for line in wrong(case, torch.device("cuda", 0))]
    torch.cuda.synchronize()
    keep_verdict(name, not found, "; ".join(found[:3]))
    print("\n".join(found) if found else f"the halo kernel computes right on {name}; it is tried from now on")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
