"""The halo kernel on a GPU: compiled once for a machine, loaded once in a process."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hetconv.errors import HetconvError
from hetconv.ops.gpu.halo.source import ARCHITECTURE, source_of
from hetconv.ops.gpu.halo.tile import THREADS, HaloConfiguration, HaloLayer

ENTRY = b"halo"


@cache
def why_not_device(device: torch.device) -> str | None:
    """Why the halo kernel does not run on this device; None if it does."""
    if device.type != "cuda" or torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] != 9:
        return "it is for GPUs of compute capability 9.0, and not for older or newer ones"
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        return "cuda-bindings are not installed; PyTorch's builds for CUDA bring them, or: pip install cuda-bindings"
    return None


def launch(configuration: HaloConfiguration, blocks: int, tensors: Sequence[Tensor], layer: HaloLayer) -> None:
    """Runs the kernel on the present stream of the tensors' device, by no more blocks than it holds at once."""
    from cuda.bindings import driver

    device = tensors[0].device
    function = _function(configuration, tensors[0].dtype == torch.float16, device)
    stream = torch.cuda.current_stream(device).cuda_stream
    at_once = configuration.resident * torch.cuda.get_device_properties(device).multi_processor_count
    launch_with(driver, function, stream, configuration, min(blocks, at_once), tensors, layer)


def launch_with(
    driver: Any,
    function: object,
    stream: int,
    configuration: HaloConfiguration,
    blocks: int,
    tensors: Sequence[Tensor],
    layer: HaloLayer,
) -> None:
    """The launch itself, by NVIDIA's bindings of its driver."""
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    arguments = [*(ctypes.addressof(pointer) for pointer in pointers), ctypes.addressof(layer)]
    array = (ctypes.c_void_p * len(arguments))(*arguments)
    grid, block = (blocks, 1, 1), (THREADS, 1, 1)
    _check(
        driver.cuLaunchKernel(function, *grid, *block, configuration.shared_bytes, stream, ctypes.addressof(array), 0)
    )


def compiled(configuration: HaloConfiguration, half: bool) -> bytes:
    """The binary, from Triton's cache on disk where it was compiled before.

    Raises:
        HetconvError: NVRTC does not take the kernel; the message has its reasons.
    """
    from triton.runtime.cache import get_cache_manager

    text = source_of(configuration, half)
    kept = get_cache_manager(sha256(f"{text}{torch.version.cuda}{ARCHITECTURE}".encode()).hexdigest())
    path = kept.get_file("halo.cubin")
    if path is not None:
        return Path(path).read_bytes()
    binary, _ = assembled(text)
    kept.put(binary, "halo.cubin", binary=True)
    return binary


def assembled(text: str) -> tuple[bytes, str]:
    """The binary of a source, and what the assembler says of its registers."""
    from cuda.bindings import nvrtc

    (program,) = _check(nvrtc.nvrtcCreateProgram(text.encode(), b"halo.cu", 0, [], []))
    options = [f"--gpu-architecture={ARCHITECTURE}", "--std=c++17", "--device-as-default-execution-space"]
    options.append("--ptxas-options=--verbose")
    result = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    log = _text(nvrtc, program)
    if result[0]:
        raise HetconvError(f"the halo kernel was not compiled: {log}")
    (size,) = _check(nvrtc.nvrtcGetCUBINSize(program))
    binary = b" " * size
    _check(nvrtc.nvrtcGetCUBIN(program, binary))
    nvrtc.nvrtcDestroyProgram(program)
    return binary, log


def _text(nvrtc: Any, program: object) -> str:
    (size,) = _check(nvrtc.nvrtcGetProgramLogSize(program))
    log = b" " * size
    _check(nvrtc.nvrtcGetProgramLog(program, log))
    text: str = log.rstrip(b"\0 \n").decode(errors="replace")
    return text


@cache
def _function(configuration: HaloConfiguration, half: bool, device: torch.device) -> object:
    """On this device, which is the present one: binaries are loaded for a device."""
    from cuda.bindings import driver

    (module,) = _check(driver.cuModuleLoadData(compiled(configuration, half)))
    (function,) = _check(driver.cuModuleGetFunction(module, ENTRY))
    most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    _check(driver.cuFuncSetAttribute(function, most, configuration.shared_bytes))
    return function


def _check(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a call of NVIDIA's bindings gave, its error code left out.

    Raises:
        HetconvError: it failed.
    """
    if result[0]:
        raise HetconvError(f"the halo kernel cannot run: {result[0]!r}")
    return result[1:]
