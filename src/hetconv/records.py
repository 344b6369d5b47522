"""The plain records that measuring writes, and how records are written and read.

Pure data without torch: times in milliseconds or seconds as the suffix says, accuracies as fractions of 1,
multiply-adds (MACs) and parameters as counts for one example.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hetconv.errors import DamagedFileError
from hetconv.files import reading, write_atomically

T = TypeVar("T")


class Record:
    """How records are written: NaN and infinity as such, and no field that the record does not have."""

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


@dataclass(frozen=True)
class LayerCost(Record):
    """Cost of one layer for one example.

    `kind` is one of het, dense, grouped, depthwise, pointwise, linear, sparse and other; `p` and `arrangement` are set
    for het layers only; `output_size` is (height, width), empty for a linear layer. `calls` counts how often a shared
    layer runs in one forward pass; `macs` includes them all.
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    output_size: tuple[int, ...]
    macs: int
    params: int
    paper_flops: int
    groups: int = 1
    p: int | None = None
    arrangement: str | None = None
    calls: int = 1
    latency_ms: float | None = None


@dataclass(frozen=True)
class Complexity(Record):
    """Cost of one model for one example: totals, its layers, and what could not be counted.

    `paper_flops` is the HetConv paper's count (multiply-adds, biases included, a het layer's bias counted 1/P).
    `extra_layers` is the paper's "latency": how many more layers than the dense network run one after another.
    `uncounted` names operators that have no formula here, or modules that no forward pass reached.
    """

    macs: int
    params: int
    paper_flops: int
    extra_layers: int
    layers: tuple[LayerCost, ...] = ()
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Latency(Record):
    """Measured time of one forward pass of a batch, over `samples` interleaved rounds."""

    median_ms: float
    p20_ms: float
    p80_ms: float
    samples: int
    memory_format: str = "channels_last"

    @classmethod
    def of(cls, times: Sequence[float], memory_format: str) -> Latency:
        """Of the milliseconds in each round."""
        cuts = statistics.quantiles(times, n=5, method="inclusive") if len(times) > 1 else [times[0]] * 4
        return cls(statistics.median(times), cuts[0], cuts[3], len(times), memory_format)


@dataclass(frozen=True)
class Circumstances(Record):
    """Where and how something was measured."""

    date: str
    processor: str
    cores: int
    threads: int
    device: str
    dtype: str
    memory_format: str
    batch_size: int
    versions: dict[str, str]


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """What reads and writes values of a type as JSON; kept, because making one takes longer than a small file."""
    hashable: Any = kind  # mypy takes no class for that
    return _adapter(hashable)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def save_record(record: Any, path: Path) -> None:
    """Write a record as JSON, whole or not at all."""
    write_atomically(path, adapter(type(record)).dump_json(record, indent=1) + b"\n")


def load_record(kind: type[T], path: Path) -> T:
    """Read a record of this kind.

    Raises:
        DamagedFileError: the file is cut short, is not JSON, or has fields of other names or types.
        HetconvError: the file cannot be read.
    """
    with reading(path):
        data = path.read_bytes()
    try:
        return adapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DamagedFileError(path, f"not a whole {kind.__name__} record ({where}: {first['msg']})") from error
