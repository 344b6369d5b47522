"""The records of trainings, studies and comparisons, which reports read; units as in `hetconv.records`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hetconv.records import Circumstances, Complexity, Latency, Record

LARGEST_SEED = 2**63 - 1
"""Of a run; PyTorch's generators and the JSON of other programs take it."""


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
    """What a study compares, and how each run is trained (`recipe` in the terms of hetconv.lab.train.Recipe).

    `weights` names the file that all runs begin from, and its content; None where they begin from random weights.
    """

    network: str
    data: str
    num_classes: int
    input_size: tuple[int, int, int]
    train_images: int
    test_images: int
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    recipe: dict[str, Any]
    weights: str | None = None


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
