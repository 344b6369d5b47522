"""Which calls the GPU kernels take, and in which precision they multiply. Knows no Triton."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from hetconv.ops.arguments import Geometry
from hetconv.pattern import HetPattern

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""Of activations and weights; sums are float32."""
LEAST_CAPABILITY = (8, 0)
LARGEST = 2**31
"""Addresses inside of a tensor are 32-bit numbers."""


@dataclass(frozen=True)
class Device:
    """What of a GPU decides which configurations it can run; `shared_bytes` of one program, at most."""

    capability: tuple[int, int]
    shared_bytes: int


@cache
def device_of(device: torch.device) -> Device | None:
    """None for a CPU, where Triton's interpreter runs everything."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    shared_bytes = properties.shared_memory_per_block_optin  # type: ignore[attr-defined]  # PyTorch has not typed it
    return Device((properties.major, properties.minor), shared_bytes)


def why_not(x: Tensor, output_elements: int) -> str | None:
    """Why a call with this input does not run on the Triton kernels; None if it does."""
    if x.device.type != "cuda":
        return f"it is for NVIDIA GPUs and x is on {x.device}"
    if x.dtype not in DTYPES:
        return f"its kernels compute in bfloat16, float16 and float32, and x is {x.dtype}"
    if max(_reach(x), output_elements) >= LARGEST:
        return f"x or the output has {LARGEST} elements or more; split the batch"
    return why_not_installed() or _why_not_device(x.device)


def why_not_call(x: Tensor, pattern: HetPattern, where: Geometry) -> str | None:
    """`why_not` of this call of `het_conv2d`."""
    height, width = where.output_hw((x.shape[2], x.shape[3]), pattern.kernel_hw)
    return why_not(x, x.shape[0] * pattern.out_channels * height * width)


@cache
def why_not_installed() -> str | None:
    """Why there are no Triton kernels in this process; None if there are."""
    if find_spec("triton") is None:
        return "Triton is not installed; PyTorch's builds for CUDA bring it, or: pip install triton"
    return None


def multiplication(dtype: torch.dtype) -> str:
    """tf32 for float32 where PyTorch's own convolutions may use it, else exact.

    That is `torch.backends.cudnn.conv.fp32_precision`, or `torch.backends.cudnn.allow_tf32`, its former name.
    """
    if dtype == torch.float32 and torch.backends.cudnn.conv.fp32_precision == "tf32":  # type: ignore[attr-defined]
        return "tf32"
    return "ieee"


def _reach(x: Tensor) -> int:
    """The largest offset of an element, plus one."""
    return 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))


@cache
def _why_not_device(device: torch.device) -> str | None:
    if torch.version.hip is not None:
        return "its kernels were never tried on AMD GPUs"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        least, has = (".".join(map(str, pair)) for pair in (LEAST_CAPABILITY, capability))
        return f"it needs compute capability {least} or newer, and {device} has {has}"
    return None
