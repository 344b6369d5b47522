"""Reading safetensors files: opened once, every tensor in memory of its own, so that what was checked is what is used.

safetensors' own `safe_open` maps the file into memory instead: what another process writes into it then shows in
tensors that were checked before.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from hetconv.files import reading

LONGEST_HEADER = 100_000_000
"""Bytes, as in safetensors."""
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "BOOL": torch.bool,
}  # fmt: skip


class NotSafetensorsError(ValueError):
    """A file is no whole safetensors file; the message says why."""


@dataclass(frozen=True)
class TensorFile:
    """The content of a safetensors file."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]


Memory = bytearray | mmap.mmap


@dataclass(frozen=True)
class Layout:
    """How bytes are a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Entry:
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorReader:
    """A safetensors file that is opened once: its header is read, and each tensor when it is asked for.

    Replacing the file afterwards changes nothing. What is written into it meanwhile may be in tensors that are read
    later, never in those that were read.

    Attributes:
        metadata: the texts in its header.

    Raises:
        NotSafetensorsError: the file is cut short, too long, or no safetensors file.
        HetconvError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path):
            self._file = path.open("rb")
            self._read_header()

    def _read_header(self) -> None:
        try:
            self.metadata, entries = _header(self._file)
            self._begin, at = self._file.tell(), 0
            left = _size(self._file) - self._begin
            for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
                if entry.begin != at:
                    raise NotSafetensorsError(f"{entry.name} does not begin where the tensor before it ends")
                if entry.end > left:  # before so much memory is asked for
                    raise NotSafetensorsError(f"it ends within {entry.name}")
                at = entry.end
            if at != left:
                raise NotSafetensorsError("it is longer than its header says")
        except BaseException:
            self._file.close()
            raise
        self._entries = {entry.name: entry for entry in entries}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def read(self, name: str, check: Callable[[Layout, Memory], None] | None = None) -> Tensor:
        """A tensor in memory of its own, which goes back to the system at once when the tensor is let go.

        Args:
            check: is shown the bytes before they become a tensor, and raises where they are not as they should be.

        Raises:
            KeyError: there is none of this name.
            NotSafetensorsError: the file has been cut short meanwhile.
            HetconvError: it cannot be read.
        """
        entry = self._entries[name]
        memory = _memory(entry.end - entry.begin)
        with reading(self._path):
            self._file.seek(self._begin + entry.begin)
            count = self._file.readinto(memory)
        if count != len(memory):
            raise NotSafetensorsError(f"it ends within {name}")
        if check is not None:
            check(Layout(entry.dtype, entry.shape), memory)
        if len(memory) == 0:
            return torch.empty(entry.shape, dtype=entry.dtype)
        return torch.frombuffer(memory, dtype=entry.dtype).reshape(entry.shape)


def read_tensors(path: Path) -> TensorFile:
    """Read a whole file at once: replacing it or writing into it afterwards changes nothing.

    Raises:
        NotSafetensorsError, HetconvError: as `TensorReader`.
    """
    with TensorReader(path) as reader:
        return TensorFile(reader.metadata, {name: reader.read(name) for name in reader.names})


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in a file's header alone.

    Raises:
        NotSafetensorsError, HetconvError: as `TensorReader`.
    """
    with reading(path), path.open("rb") as file:
        return _header(file)[0]


LARGE = 2**16
"""Bytes from which memory is the system's own pages. The allocator would keep it where something later is beside it."""


def _memory(count: int) -> Memory:
    if count < LARGE:
        return bytearray(count)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # by default a forked process would write into the same memory
    return mmap.mmap(-1, count, flags=private)


def _header(file: BinaryIO) -> tuple[dict[str, str], list[_Entry]]:
    length = int.from_bytes(_bytes(file, 8), "little")
    if length > LONGEST_HEADER:
        raise NotSafetensorsError(f"its header would have {length:,} bytes")
    try:
        header = json.loads(_bytes(file, length))
    except (ValueError, RecursionError) as error:
        raise NotSafetensorsError("its header is no JSON") from error
    if not isinstance(header, dict):
        raise NotSafetensorsError("its header is no table of tensors")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise NotSafetensorsError("its metadata is no table of texts")
    return metadata, [_entry(name, entry) for name, entry in header.items()]


def _entry(name: str, entry: Any) -> _Entry:
    try:
        dtype, shape, (begin, end) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise NotSafetensorsError(f"its header does not describe {name}") from error
    numbers = [begin, end, *shape] if isinstance(shape, list) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise NotSafetensorsError(f"its header gives {name} no shape and place")
    if end - begin != prod(shape) * dtype.itemsize:
        raise NotSafetensorsError(f"{name} has {end - begin} bytes, which is not its shape {tuple(shape)} of {dtype}")
    return _Entry(name, dtype, tuple(shape), begin, end)


def _size(file: BinaryIO) -> int:
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return size


def _bytes(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) != count:
        raise NotSafetensorsError("it ends within its header")
    return found
