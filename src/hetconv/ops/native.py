"""The native CPU kernels: loading them, saying why they do not run, and layers packed for inference."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hetconv import built
from hetconv.errors import UsageError
from hetconv.ops.arguments import Geometry
from hetconv.pattern import HetPattern

InstructionSet = Literal["avx512_amx", "avx512", "avx2", "neon", "portable"]
"""With and without AMX, only training in bfloat16 and the kernels of 8 bits differ."""
Int8InstructionSet = Literal[
    "avx512_amx", "avx512_vnni", "avx512", "avx2_vnni", "avx2", "neon_i8mm", "neon_dotprod", "neon", "portable"
]
"""With and without VNNI, dot products or i8mm, only the kernels of 8 bits differ."""
Algorithm = Literal["direct", "winograd"]
ALGORITHMS: tuple[Algorithm, ...] = ("direct", "winograd")
DTYPES = (torch.float32, torch.bfloat16)
"""Of activations and weights; sums are float32."""


@cache
def _load() -> ctypes.CDLL | str:
    """The library, its operators registered, or why there is none."""
    path = built.library("native.so")
    if isinstance(path, str):
        return path
    try:
        torch.ops.load_library(str(path))
        kernels = ctypes.CDLL(str(path))
    except OSError as error:
        return f"the native kernels do not load: {error.__cause__ or error}"
    for name, (result, *arguments) in _ENTRIES.items():
        entry = getattr(kernels, name, None)
        if entry is None:
            return (
                f"the native kernels are those of another version of hetconv ({path} has no {name}); install it again"
            )
        entry.restype, entry.argtypes = result, arguments
    return kernels


_ENTRIES: dict[str, tuple[Any, ...]] = {
    "hetconv_error": (ctypes.c_char_p,),
    "hetconv_instruction_set": (ctypes.c_char_p,),
    "hetconv_choose_instruction_set": (ctypes.c_int, ctypes.c_char_p),
    "hetconv_allow_winograd": (None, ctypes.c_int),
    "hetconv_fingerprint": (ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int64),
    "hetconv_multiply_adds": (ctypes.c_int64, ctypes.c_int64),
    "hetconv_int8_multiply_adds": (ctypes.c_int64, ctypes.c_int64),
    "hetconv_choose_algorithm": (ctypes.c_int, ctypes.POINTER(ctypes.c_int64)),
    "hetconv_pack": (
        ctypes.c_int64, ctypes.POINTER(ctypes.c_int64), ctypes.c_int,
        *(ctypes.c_void_p, ctypes.c_int64) * 2, ctypes.c_void_p,
    ),
    "hetconv_unpack": (
        ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, ctypes.c_int64,
        *(ctypes.c_void_p, ctypes.c_int64) * 2,
    ),
    "hetconv_pack_int8": (
        ctypes.c_int64, ctypes.POINTER(ctypes.c_int64), *(ctypes.c_void_p, ctypes.c_int64) * 2, ctypes.c_void_p,
    ),
    "hetconv_unpack_int8": (
        ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, ctypes.c_int64,
        *(ctypes.c_void_p, ctypes.c_int64) * 2,
    ),
}  # fmt: skip
"""What `csrc/entries.h` declares: the result, then the arguments."""


def why_not_loaded() -> str | None:
    """Why there are no native kernels in this process; None if there are."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def why_not(x: Tensor) -> str | None:
    """Why a call with this input does not run on the native kernels; None if it does."""
    if x.device.type != "cpu":
        return f"they are for the CPU and x is on {x.device}"
    if x.dtype not in DTYPES:
        return f"they compute in float32 and bfloat16, and x is {x.dtype}"
    return why_not_loaded()


@cache
def warn_if_missing() -> None:
    """Say once that the slower path is taken because the native kernels are not there."""
    reason = why_not_loaded()
    if reason is not None:
        warnings.warn(f"hetconv runs without its native kernels, several times slower: {reason}", stacklevel=3)


def instruction_set() -> str:
    """The instruction set that the native kernels use: one of `Int8InstructionSet`."""
    name: bytes = library().hetconv_instruction_set()
    return name.decode()


def choose_instruction_set(name: Int8InstructionSet) -> None:
    """Run the native kernels on this instruction set from now on; layers packed before must be packed again.

    Raises:
        UsageError: this processor does not have it.
    """
    if not library().hetconv_choose_instruction_set(name.encode()):
        every = ", ".join(get_args(Int8InstructionSet))
        raise UsageError(f"instruction set {name!r} is not one that this processor has (of {every})")


@contextmanager
def each_instruction_set() -> Iterator[Iterator[InstructionSet]]:
    """The instruction sets that this processor has, each chosen while it is the next one; then today's again."""
    before = library().hetconv_instruction_set()

    def chosen() -> Iterator[InstructionSet]:
        for name in get_args(InstructionSet):
            if library().hetconv_choose_instruction_set(name.encode()):
                yield name

    try:
        yield chosen()
    finally:
        library().hetconv_choose_instruction_set(before)


def allow_winograd(allow: bool) -> None:
    """Whether layers may compute squares of 4×4 outputs at once where that is faster (Winograd); at first they may.

    Only 3×3 kernels of stride 1 do, in inference and in training. Rounding errors are two to four times those of
    summing tap by tap, and an input that is infinite or not a number spoils all outputs of its square.
    """
    library().hetconv_allow_winograd(int(allow))
    choose_algorithm.cache_clear()


@lru_cache(maxsize=1024)
def choose_algorithm(pattern: HetPattern, where: Geometry, size: tuple[int, int, int]) -> Algorithm:
    """The faster algorithm for inputs of this batch size, height and width."""
    numbers = integers(*_numbers(pattern), *where.stride, *where.padding, *where.dilation, *size)
    return ALGORITHMS[accepted(library().hetconv_choose_algorithm(numbers))]


def winograd_macs(pattern: HetPattern, batch: int, height: int, width: int) -> int:
    """Multiply-adds that Winograd executes for outputs of this size, transforms not counted."""
    squares = batch * -(-height // 4) * -(-width // 4)
    centre = 0 if pattern.p == 1 else batch * height * width * pattern.in_channels
    return pattern.out_channels * (36 * squares * pattern.in_channels // pattern.p + centre)


def multiply_adds(rounds: int) -> int:
    """Run multiply-adds that never leave the registers, the most that one core can do; returns how many they were."""
    return accepted(library().hetconv_multiply_adds(*integers(rounds)))


def hash_of(tensor: Tensor) -> int:
    """64 bits of a tensor that fills its memory without gaps: others where one value changed, bits compared.

    Where several values changed they are the same by chance only, once in 2³² changes at the most.
    """
    return int(library().hetconv_fingerprint(tensor.data_ptr(), tensor.numel() * tensor.element_size()))


def pack_weights(
    weight_spatial: Tensor, weight_pointwise: Tensor | None, pattern: HetPattern, algorithm: Algorithm = "direct"
) -> Tensor:
    """The weights of a layer in the order the kernels of this machine read them, for `het_conv2d_packed`.

    Args:
        weight_spatial: (N, M/P, K, K), float32 or bfloat16 on the CPU
        weight_pointwise: (N, M − M/P); None at P=1
        algorithm: as `choose_algorithm` says; "winograd" is for 3×3 kernels of stride 1

    Returns:
        one-dimensional, float32, about as many elements as there are weights; with Winograd 5 for each spatial weight

    Raises:
        UsageError: the native kernels cannot run on these weights, or not with this algorithm.
    """
    pointwise = weight_spatial.new_empty(pattern.pointwise_shape) if weight_pointwise is None else weight_pointwise
    reason = why_not(weight_spatial) or why_not(pointwise)
    if reason is None and algorithm == "winograd" and pattern.kernel_hw != (3, 3):
        reason = f"algorithm='winograd' is for 3×3 kernels, and these are {pattern.kernel_hw}; use 'direct'"
    if reason is not None:
        raise UsageError(f"weights cannot be packed: {reason}")
    layer = integers(*_numbers(pattern))
    weights = [w.detach().float().contiguous() for w in (weight_spatial, pointwise)]
    code = ALGORITHMS.index(algorithm)
    given = _arrays(*weights)
    packed = torch.empty(accepted(library().hetconv_pack(layer, code, *given, None)))
    accepted(library().hetconv_pack(layer, code, *given, packed.data_ptr()))
    return packed


def algorithm_of(packed: Tensor) -> Algorithm:
    """The algorithm that weights were packed for."""
    return ALGORITHMS[int(packed[1])]


def unpack_weights(packed: Tensor, pattern: HetPattern) -> tuple[Tensor, Tensor]:
    """The weights that `pack_weights` or `pack_int8_weights` was given, bit by bit: weight_spatial, weight_pointwise.

    Raises:
        UsageError: they were packed for another layer, or for another instruction set than this process runs.
    """
    int8 = packed.dtype == torch.uint8
    dtype = torch.int8 if int8 else torch.float32
    spatial, pointwise = (torch.empty(shape, dtype=dtype) for shape in (pattern.spatial_shape, pattern.pointwise_shape))
    layer, into = integers(*_numbers(pattern)), _arrays(spatial, pointwise)
    unpack = library().hetconv_unpack_int8 if int8 else library().hetconv_unpack
    if unpack(layer, packed.data_ptr(), packed.numel(), *into) < 0:
        raise UsageError(f"the weights were not packed for {pattern} on {instruction_set()}; pack the layer here")
    return spatial, pointwise


def pack_int8_weights(weight_spatial: Tensor, weight_pointwise: Tensor, pattern: HetPattern) -> Tensor:
    """The weights of a layer of 8 bits in the order the kernels of this machine read them.

    Args:
        weight_spatial: (N, M/P, K, K), int8 on the CPU
        weight_pointwise: (N, M − M/P), int8

    Returns:
        one-dimensional, uint8

    Raises:
        UsageError: they are none of such a layer, or there are no native kernels.
    """
    weights = [w.detach().contiguous() for w in (weight_spatial, weight_pointwise)]
    if any(w.dtype != torch.int8 or w.device.type != "cpu" for w in weights):
        raise UsageError("weights of 8 bits must be int8 on the CPU")
    layer, given = integers(*_numbers(pattern)), _arrays(*weights)
    packed = torch.empty(accepted(library().hetconv_pack_int8(layer, *given, None)), dtype=torch.uint8)
    accepted(library().hetconv_pack_int8(layer, *given, packed.data_ptr()))
    return packed


def _numbers(pattern: HetPattern) -> tuple[int, ...]:
    shifted = int(pattern.arrangement == "shifted")
    return (pattern.in_channels, pattern.out_channels, pattern.p, *pattern.kernel_hw, shifted)


def _arrays(*tensors: Tensor) -> list[int]:
    """Each tensor's memory, and how many elements it has."""
    return [number for tensor in tensors for number in (tensor.data_ptr(), tensor.numel())]


def integers(*numbers: int) -> ctypes.Array[ctypes.c_int64]:
    """As the kernels take them, which check their ranges.

    Raises:
        UsageError: one of them does not fit into 64 bits, where ctypes would cut it short.
    """
    if not all(-(2**63) <= number < 2**63 for number in numbers):
        raise UsageError(f"{numbers} must be integers of 64 bits")
    return (ctypes.c_int64 * len(numbers))(*numbers)


def accepted(result: int) -> int:
    """What an entry of the kernels returned.

    Raises:
        UsageError: it refused its arguments.
    """
    if result < 0:
        raise UsageError(library().hetconv_error().decode())
    return result


def library() -> ctypes.CDLL:
    """The native library; raises UsageError where there is none."""
    loaded = _load()
    if isinstance(loaded, str):
        raise UsageError(loaded)
    return loaded
