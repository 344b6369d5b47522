"""What deployment did with every convolution, and what it left alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hetconv.clock import CALM_SPREAD
from hetconv.plain_text import by_reason
from hetconv.records import Circumstances, Record
from hetconv.table import NOTHING, Table

SMALL_ERROR, HARMLESS = 0.01, 1.1
"""The first layer is of 8 bits where the outputs' relative error is then small, or at most HARMLESS times the least
one. Networks of 94 % on CIFAR-10 lose 0.03 points at an error of 0.009."""


@dataclass(frozen=True)
class DeployedConvolution(Record):
    """One call of a convolution.

    Attributes:
        layer: what it is, in words.
        runs_on: native, PyTorch, or code for a module that was not captured.
        joined: batch norm, residual, relu, relu6, silu.
        reason: why no more joined, or why it does not run on the native kernels; empty where all there was joined.
        native_ms, torch_ms: medians that were measured to choose between the two, of standard convolutions.
        algorithm: of the native kernels, direct or winograd: the one expected to be faster for the example.
    """

    name: str
    layer: str
    runs_on: str
    joined: tuple[str, ...]
    reason: str
    native_ms: float | None = None
    torch_ms: float | None = None
    algorithm: str | None = None


@dataclass(frozen=True)
class NotCaptured(Record):
    """A module that stays Python code, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class CheckedPart(Record):
    """Root mean square errors over that of the right values.

    Attributes:
        original_error: the original's own.
        reference: what the right values are: the original in float64, or, where it does not run in it, the original.
        batch_size: of the images: the example's, or another one.
    """

    name: str
    error: float
    original_error: float
    budget: float
    reference: str
    batch_size: int | None = None


@dataclass(frozen=True)
class PlannedPart(Record):
    """A captured part as one native call, or as one call after another.

    Attributes:
        one_call: which of the two it is: the faster one.
        refused: calls that the native network does not have, with the reasons.
        one_call_ms, calls_ms: medians on the example, where there is a native network.
    """

    name: str
    one_call: bool
    refused: tuple[NotCaptured, ...]
    one_call_ms: float | None = None
    calls_ms: float | None = None


@dataclass(frozen=True)
class Int8Choice(Record):
    """One way to choose u8's ranges: its name, whether biases were corrected, whether the first layer is of 8 bits
    too, and the outputs' relative error."""

    ranges: str
    corrected: bool
    first_layer: bool
    error: float

    @staticmethod
    def best(choices: Iterable[Int8Choice]) -> Int8Choice:
        """The one of least error, but the first layer in 8 bits where that adds little; a NaN is worse than all."""
        ordered = sorted(choices, key=lambda choice: (choice.error != choice.error, choice.error))
        harmless = max(SMALL_ERROR, HARMLESS * ordered[0].error)
        return next((c for c in ordered if c.first_layer and c.error <= harmless), ordered[0])


@dataclass(frozen=True)
class Int8Accuracy(Record):
    """The share of labelled images whose class is right, in float32 and in 8 bits, and in how many both agree."""

    images: int
    float32: float
    int8: float
    agreement: float


@dataclass(frozen=True)
class Int8Report(Record):
    """A network in 8 bits.

    Attributes:
        images: how many ranges were taken from.
        choices: those that were measured; the one with the least error was taken.
        in_float32: layers that stay float32, with the reasons.
        accuracy: where labelled images were given.
        notes: what else was seen on the calibration images.
        weight_bytes, float32_weight_bytes: of all layers, as the kernels read them; in float32 as they are stored.
    """

    images: int
    choices: tuple[Int8Choice, ...]
    in_float32: tuple[NotCaptured, ...]
    notes: tuple[str, ...]
    weight_bytes: int
    float32_weight_bytes: int
    accuracy: Int8Accuracy | None = None

    @property
    def chosen(self) -> Int8Choice:
        return Int8Choice.best(self.choices)


@dataclass(frozen=True)
class BeforeAndAfter(Record):
    """The whole network in eager PyTorch and deployed, timed in turns on the example.

    Attributes:
        eager_ms, deployed_ms: medians of the rounds.
        spread: the distance between the quartiles of the rounds over their median, the larger of both.
        measured: how many times; twice where the rounds of the first lay far apart, and the calmer one is kept.
    """

    eager_ms: float
    deployed_ms: float
    spread: float
    rounds: int
    measured: int = 1

    @property
    def speedup(self) -> float:
        return self.eager_ms / self.deployed_ms

    def __str__(self) -> str:
        noise = ""
        if self.spread > CALM_SPREAD:
            noise = f"; not certain: the machine is busy, rounds lie {self.spread:.0%} apart, also when measured again"
        return (
            f"This network: {self.eager_ms:.3f} ms in eager PyTorch, {self.deployed_ms:.3f} ms deployed, "
            f"{self.speedup:.2f} times as fast (medians of {self.rounds} rounds in turns{noise})"
        )


@dataclass(frozen=True)
class DeployReport(Record):
    """Every convolution of a network, what became of it, and how the result was checked.

    Attributes:
        norms: batch norms that remain, each with the reason.
        checks: of each captured part, and of the whole network, "", on the example and on another batch size.
        left: modules that could not be captured; empty for a network that was captured whole.
        timing: the network before and after; None where it was not asked for.
        planned: of each captured part, whether it is one native call.
    """

    convolutions: tuple[DeployedConvolution, ...]
    norms: tuple[NotCaptured, ...]
    checks: tuple[CheckedPart, ...]
    left: tuple[NotCaptured, ...]
    instruction_set: str
    circumstances: Circumstances
    int8: Int8Report | None = None
    timing: BeforeAndAfter | None = None
    planned: tuple[PlannedPart, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the network was captured as a whole."""
        return not self.left

    def count(self, word: str) -> int:
        """How many convolutions something joined: batch norm, residual, relu, relu6 or silu."""
        return sum(word in entry.joined for entry in self.convolutions)

    def __str__(self) -> str:
        native = sum(entry.runs_on in ("native", "int8") for entry in self.convolutions)
        joined = dict.fromkeys(word for entry in self.convolutions for word in entry.joined)
        head = f"{native} of {len(self.convolutions)} convolutions run on the native kernels ({self.instruction_set})"
        words = ", ".join(f"{word} {self.count(word)}" for word in joined) or "nothing"
        return "\n".join([
            f"{head}; joined: {words}",
            "",
            *self._convolution_lines(),
            "",
            *_left("batch norms that remain", self.norms),
            "",
            *_left("not captured", self.left),
            "",
            *self._planned_lines(),
            "",
            *self._check_lines(),
            *self._int8_lines(),
            "",
            self._measured_on(),
            *([] if self.timing is None else [str(self.timing)]),
        ])  # fmt: skip

    def _convolution_lines(self) -> Iterable[str]:
        rows = [
            (e.name or "(itself)", e.layer, _kernels(e), _times(e), " + ".join(e.joined) or NOTHING, e.reason)
            for e in self.convolutions
        ]
        header = ("name", "layer", "runs on", "native | PyTorch, ms", "joined", "why no more")
        return [f"convolutions ({len(rows)}):", *Table.of_rows(header, rows).lines()]

    def _check_lines(self) -> Iterable[str]:
        yield f"checked ({len(self.checks)}):"
        rows = [
            (
                e.name or "the whole",
                NOTHING if e.batch_size is None else str(e.batch_size),
                f"{e.error:.1e}",
                f"{e.original_error:.1e}",
                f"{e.budget:.1e}",
                e.reference,
            )
            for e in self.checks
        ]
        header = ("part", "batch", "relative error", "original's", "allowed", "against")
        yield from Table.of_rows(header, rows).lines()

    def _planned_lines(self) -> Iterable[str]:
        """Whether each part is one native call, and what speaks against it."""
        for part in self.planned:
            name = part.name or "the whole"
            if part.one_call_ms is not None and part.calls_ms is not None:
                kind = "one native call" if part.one_call else "one call after another"
                yield f"{name} runs as {kind}: {part.one_call_ms:.3f} ms as one, {part.calls_ms:.3f} ms one by one"
            else:
                title = f"{name} runs as one call after another; calls that the native network does not have"
                yield from _left(title, part.refused)

    def _int8_lines(self) -> Iterable[str]:
        if self.int8 is None:
            return
        yield from (
            "",
            f"8 bits, ranges from {self.int8.images} images; errors of the choices ({len(self.int8.choices)}):",
        )
        rows = [
            (
                c.ranges,
                "yes" if c.corrected else "no",
                "8 bits" if c.first_layer else "float32",
                f"{c.error:.4f}",
                "taken" if c == self.int8.chosen else "",
            )
            for c in self.int8.choices
        ]
        yield from Table.of_rows(("ranges", "biases corrected", "first layer", "relative error", ""), rows).lines()
        yield from ("", *_left("layers that stay float32", self.int8.in_float32))
        yield from ("", *(f"note: {note}" for note in self.int8.notes))
        megabytes = (self.int8.weight_bytes / 1e6, self.int8.float32_weight_bytes / 1e6)
        yield f"weights: {megabytes[0]:.2f} MB, in float32 {megabytes[1]:.2f} MB"
        if self.int8.accuracy is not None:
            at = self.int8.accuracy
            yield (
                f"accuracy on {at.images} images: {at.float32:.2%} in float32, {at.int8:.2%} in 8 bits "
                f"({100 * (at.int8 - at.float32):+.2f} points); they agree on {at.agreement:.2%}"
            )

    def _measured_on(self) -> str:
        at = self.circumstances
        return (
            f"Chosen on {at.processor}, {at.threads} thread(s), batch {at.batch_size}, {at.dtype}, PyTorch "
            f"{at.versions.get('torch', '?')}, {at.date}"
        )


def _kernels(entry: DeployedConvolution) -> str:
    return f"{entry.runs_on}, Winograd" if entry.algorithm == "winograd" else entry.runs_on


def _times(entry: DeployedConvolution) -> str:
    if entry.native_ms is None or entry.torch_ms is None:
        return NOTHING
    return f"{entry.native_ms:.3f} | {entry.torch_ms:.3f}"


def _left(title: str, entries: Sequence[NotCaptured]) -> list[str]:
    return by_reason(title, ((entry.name or "the whole", entry.reason) for entry in entries))
