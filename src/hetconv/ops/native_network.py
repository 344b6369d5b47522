"""A whole network for inference as one native call: steps that run one after another, without Python."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.ops import native
from hetconv.ops.network_steps import ELEMENT_TYPES, PACKED, Step


class Network:
    """Steps that are one call.

    Args:
        in_channels: of the images.

    Raises:
        UsageError: there are no native kernels here, or a step cannot be computed exactly; the message says why.
    """

    def __init__(self, in_channels: int, steps: Sequence[Step]) -> None:
        self._library = _declared()
        handle = self._library.hetconv_network_new(*native.integers(in_channels))
        if not handle:
            raise UsageError(_error(self._library))
        self._handle = ctypes.c_void_p(handle)
        self._delete = weakref.finalize(self, self._library.hetconv_network_delete, self._handle)
        self._sizes: dict[tuple[int, int], tuple[int, ...]] = {}
        self._borrowed: list[Tensor] = []
        for number, step in enumerate(steps):
            self._add(number, step)

    def _add(self, number: int, step: Step) -> None:
        arrays = [array.contiguous() for array in step.arrays]
        if any(array.dtype not in ELEMENT_TYPES for array in arrays):
            raise UsageError(f"step {number} ({step.kind}): its weights have another shape or type")
        self._borrowed += arrays[:1] if step.kind in PACKED else []
        sizes = [number for array in arrays for number in (ELEMENT_TYPES.index(array.dtype), array.numel())]
        made = self._library.hetconv_network_add(
            self._handle, step.kind.encode(), native.integers(*step.counts), native.integers(*step.inputs),
            native.integers(*step.numbers), _array(ctypes.c_float, step.reals),
            _array(ctypes.c_void_p, [array.data_ptr() for array in arrays]), native.integers(*sizes),
        )  # fmt: skip
        if made < 0:
            raise UsageError(f"step {number} ({step.kind}): {_error(self._library)}")

    def __call__(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in float32 on the CPU, in any layout; gives (B, N, H', W'), channels-last.

        Raises:
            UsageError: they are of another type, shape or number of channels, or hold a number that is not finite.
        """
        if x.dim() != 4 or x.dtype != torch.float32 or x.device.type != "cpu" or x.shape[0] == 0:
            raise UsageError(f"images are {tuple(x.shape)} of {x.dtype} on {x.device}; the network takes (B, C, H, W) "
                             f"of float32 on the CPU, B ≥ 1")  # fmt: skip
        batch, _, height, width = x.shape
        channels, out_height, out_width = self._result(height, width)
        y = torch.empty((batch, channels, out_height, out_width), memory_format=torch.channels_last)
        numbers = (ctypes.c_int64 * 8)(*x.shape, *x.stride())
        done = self._library.hetconv_network_run(self._handle, numbers, x.data_ptr(), y.data_ptr())
        if done == 2:
            raise UsageError("images hold NaN or infinity, which 8 bits cannot carry")
        if done == 0:
            raise UsageError(_error(self._library))
        return y

    def _result(self, height: int, width: int) -> tuple[int, ...]:
        found = self._sizes.get((height, width))
        if found is None:
            sizes = (ctypes.c_int64 * 3)()
            if not self._library.hetconv_network_result(self._handle, *native.integers(height, width), sizes):
                raise UsageError(_error(self._library))
            found = self._sizes[height, width] = tuple(sizes)
        return found

    @property
    def weight_bytes(self) -> int:
        """Of all layers' weights, as the kernels of this machine read them."""
        return int(self._library.hetconv_network_weight_bytes(self._handle))


def int8_multiply_adds(rounds: int) -> int:
    """Run multiply-adds of 8 bits that never leave the registers, as `native.multiply_adds` does in float32."""
    return native.accepted(native.library().hetconv_int8_multiply_adds(*native.integers(rounds)))


def _array(kind: type, values: Sequence[float]) -> ctypes.Array:  # type: ignore[type-arg]
    return (kind * max(1, len(values)))(*values)  # type: ignore[no-any-return, operator]


def _error(library: ctypes.CDLL) -> str:
    text: bytes = library.hetconv_error()
    return text.decode()


def _declared() -> ctypes.CDLL:
    """The native library, the types of its networks' functions known."""
    library = native.library()
    if library.hetconv_network_new.argtypes is None:
        pointer, integer, numbers = ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)
        reals, arrays = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_void_p)
        library.hetconv_network_add.argtypes = [
            pointer, ctypes.c_char_p, numbers, numbers, numbers, reals, arrays, numbers
        ]  # fmt: skip
        library.hetconv_network_add.restype = integer
        library.hetconv_network_delete.argtypes = [pointer]
        library.hetconv_network_delete.restype = None
        library.hetconv_network_result.argtypes = [pointer, integer, integer, numbers]
        library.hetconv_network_run.argtypes = [pointer, numbers, pointer, pointer]
        library.hetconv_network_weight_bytes.argtypes = [pointer]
        library.hetconv_network_weight_bytes.restype = integer
        library.hetconv_network_new.restype = pointer
        library.hetconv_network_new.argtypes = [integer]
    return library
