"""The plain records that measuring and training write, and that reports read.

Pure data without torch: times in milliseconds or seconds as the suffix says, accuracies as fractions of 1,
multiply-adds (MACs) and parameters as counts for one example.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hetconv.errors import DamagedFileError, HetconvError
from hetconv.files import write_atomically

T = TypeVar("T")
LARGEST_SEED = 2**63 - 1
"""Of a run; PyTorch's generators and the JSON of other programs take it."""


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


@dataclass(frozen=True)
class Epoch(Record):
    """What one epoch of training showed; accuracy and validation_loss are on the held-out split.

    `views_accuracy` is the accuracy of the mean over several views of each image, where it was asked for.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    accuracy: float
    seconds: float
    views_accuracy: float | None = None


@dataclass(frozen=True)
class Run(Record):
    """One training of one variant from one seed. `accuracy` is the last epoch's, never the best one's.

    Of a compressed network, `epochs` are those of all stages one after another, and `compression` says what was done.
    """

    variant: str
    seed: int
    state: Literal["running", "done", "failed"]
    epochs: tuple[Epoch, ...] = ()
    error: str | None = None
    compression: Compression | None = None

    @property
    def accuracy(self) -> float | None:
        if self.compression is not None:
            return self.compression.accuracy
        return self.epochs[-1].accuracy if self.epochs else None


@dataclass(frozen=True)
class VariantCost(Record):
    """What one variant of the network costs: counted, and measured interleaved with the others.

    `latency` is of the network as a user runs it: deployed, or in eager PyTorch where `not_deployed` says why.
    `eager` is of the network in eager PyTorch, where that is another one. `speedup_theory` is MACs of the dense network
    over this variant's.
    """

    variant: str
    complexity: Complexity
    latency: Latency
    speedup_theory: float
    eager: Latency | None = None
    not_deployed: str | None = None


@dataclass(frozen=True)
class StudySettings(Record):
    """What a study compares, and how each run is trained (`recipe` in the terms of hetconv.train.Recipe)."""

    network: str
    data: str
    num_classes: int
    input_size: tuple[int, int, int]
    train_images: int
    test_images: int
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Results(Record):
    """All that a study has found so far."""

    settings: StudySettings
    circumstances: Circumstances
    runs: tuple[Run, ...] = ()
    costs: tuple[VariantCost, ...] = ()


@dataclass(frozen=True)
class Claim(Record):
    """Something said of one variant that a study can test, of every network or of `network` only.

    `kept`: accuracy is at most `margin` percentage points below that of `against`. `above`: it is more than `margin`
    points above it. `faster`: a forward pass takes less time. `cheaper`: a training takes less time. `source` says who
    claims it and where.
    """

    name: str
    text: str
    variant: str
    relation: Literal["kept", "above", "faster", "cheaper"]
    against: str = "dense"
    margin: float = 0.0
    network: str | None = None
    source: str = ""


@dataclass(frozen=True)
class StudyResults(Record):
    """What a study of one or more networks has found so far, and what it set out to test.

    `definition` is the study's file as text, `recipe_source` where the recipe of its runs comes from.
    """

    name: str
    title: str
    networks: tuple[Results, ...]
    claims: tuple[Claim, ...] = ()
    recipe_source: str = ""
    definition: str = ""


@dataclass(frozen=True)
class BenchEntry(Record):
    """One variant of a network in one runtime; without times where it was not measured, and then `reason` says why.

    `remark` is how it ran (memory format, form of the layers). `cold_start_ms` is from starting a fresh process to its
    first output, `peak_bytes` the most memory it had held by then (0: not known), `error` how far that output
    was from the network's own in float64, over the largest of them.
    """

    runtime: str
    variant: str
    reason: str | None = None
    remark: str = ""
    latency: Latency | None = None
    cold_start_ms: float | None = None
    peak_bytes: int | None = None
    error: float | None = None


@dataclass(frozen=True)
class BenchResults(Record):
    """One network in several variants and runtimes, timed in turns; `macs` by variant, for one image."""

    network: str
    input_size: tuple[int, int, int]
    num_classes: int
    width: float
    variants: tuple[str, ...]
    macs: dict[str, int]
    circumstances: Circumstances
    entries: tuple[BenchEntry, ...] = ()


@dataclass(frozen=True)
class Stage(Record):
    """One part of the course to a compressed network; epochs are numbered within it.

    `macs` are those of one image's forward pass while it was trained; `seconds` is all the time that the stage took.
    """

    name: str
    epochs: tuple[Epoch, ...]
    images: int
    macs: int
    seconds: float

    @property
    def training_macs(self) -> int:
        """Multiply-adds spent: a forward pass and two more for both gradients, for every image of every epoch."""
        return 3 * self.macs * self.images * len(self.epochs)


@dataclass(frozen=True)
class LayerChange(Record):
    """What became of one layer: filters or weights, as `unit` says. `reason` is why it was left as it is."""

    name: str
    unit: str
    before: int
    after: int
    reason: str | None = None


@dataclass(frozen=True)
class TrainingCost(Record):
    """What a network has cost to get. Of `macs`, evaluation is not counted; of `seconds` it is."""

    epochs: int
    seconds: float
    macs: int


@dataclass(frozen=True)
class Compression(Record):
    """How a network was compressed, what it then was, and what that cost.

    `accuracy` is on the held-out split, of the network as it is returned; `complexity` counts that network.
    """

    method: str
    stages: tuple[Stage, ...]
    layers: tuple[LayerChange, ...]
    accuracy: float
    complexity: Complexity

    @property
    def cost(self) -> TrainingCost:
        """All stages together, the training of the network to begin with among them."""
        return TrainingCost(
            sum(len(stage.epochs) for stage in self.stages),
            sum(stage.seconds for stage in self.stages),
            sum(stage.training_macs for stage in self.stages),
        )


@dataclass(frozen=True)
class Probe(Record):
    """One layer changed, the others as they were, and what that did to the network.

    `kind` says what `value` is: p, of the HetConv layer that took the convolution's place, or the share of its filters
    that was removed. `changed` of `of` weights (p) or filters (share) are not what they were. `accuracy` and `loss`
    (mean cross-entropy) are of the changed network, without any training, as `macs` are for one image.
    """

    layer: str
    kind: Literal["p", "share"]
    value: float
    changed: int
    of: int
    accuracy: float
    loss: float
    macs: int


@dataclass(frozen=True)
class SkippedProbe(Record):
    """A layer that was not changed so, and why."""

    layer: str
    kind: Literal["p", "share"]
    value: float
    reason: str


@dataclass(frozen=True)
class Sensitivity(Record):
    """How a trained network bears changes of one layer at a time; `accuracy`, `loss` and `macs` are of it unchanged."""

    accuracy: float
    loss: float
    macs: int
    images: int
    probes: tuple[Probe, ...]
    skipped: tuple[SkippedProbe, ...] = ()


@dataclass(frozen=True)
class SensitivityResults(Record):
    """The sensitivity of one network, and whose it is.

    `seen` is whether the network was trained on the images that accuracies are of; None if that is not known.
    """

    network: str
    variant: str
    data: str
    training: str
    seen: bool | None
    circumstances: Circumstances
    sensitivity: Sensitivity


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
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HetconvError(f"cannot read {path}: {error.strerror}") from error
    try:
        return adapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DamagedFileError(path, f"not a whole {kind.__name__} record ({where}: {first['msg']})") from error
