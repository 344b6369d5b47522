"""P for each layer of a network, chosen for a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from hetconv.errors import DamagedFileError, UsageError
from hetconv.files import reading
from hetconv.plain_text import by_reason
from hetconv.records import Circumstances, Record, adapter, save_record
from hetconv.table import Table

FORMAT = "hetconv-plan-1"
TOLERANCE = 0.03
"""A budget counts as met up to this share above it."""


@dataclass(frozen=True)
class PlannedLayer(Record):
    """One convolution.

    Attributes:
        p: what it gets; 1 leaves it as it is.
        times_ms: of each P, measured alone as it will run.
        losses: mean square error of the network's outputs, relative, that each P would bring alone; 0 for P=1.
    """

    name: str
    layer: str
    p: int
    times_ms: dict[int, float]
    losses: dict[int, float]


@dataclass(frozen=True)
class NotPlanned(Record):
    """A convolution that stays as it is whatever the budget, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Trial(Record):
    """One choice of P, measured as a whole network beside the original one."""

    p_by_name: dict[str, int]
    loss: float
    original_ms: float
    measured_ms: float


@dataclass(frozen=True)
class Plan(Record):
    """P for each layer; `hetconv.convert_(model, plan)` carries it out.

    Attributes:
        asked: the budget in words, as it was given.
        budget_ms: in the same turns as `measured_ms`.
        original_ms, measured_ms: of the whole networks, measured in turns.
        is_met: whether the measured time is within the budget, or not more than 3 % above it. If not, this is the
            fastest choice that there is.
        trials: every choice that was measured, in order.
    """

    format: str
    target: str
    asked: str
    budget_ms: float
    original_ms: float
    measured_ms: float
    is_met: bool
    layers: tuple[PlannedLayer, ...]
    others: tuple[NotPlanned, ...]
    trials: tuple[Trial, ...]
    circumstances: Circumstances | None

    @property
    def p_by_name(self) -> Mapping[str, int]:
        """P of the layers that are to be converted."""
        return {layer.name: layer.p for layer in self.layers if layer.p > 1}

    @property
    def speedup(self) -> float:
        return self.original_ms / self.measured_ms

    @property
    def verdict(self) -> str:
        """Whether the budget is met, in one line."""
        times = f"{self.original_ms:.3f} → {self.measured_ms:.3f} ms, {self.speedup:.2f} times as fast"
        if self.is_met:
            return f"{self.asked} is met: {times}"
        return (
            f"{self.asked} is out of reach: the fastest choice is {times}, and the budget is {self.budget_ms:.3f} ms; "
            f"ask for less, allow a larger P, or take a smaller network"
        )

    @property
    def table(self) -> Table:
        """P of each layer, its time before and after, and the loss that its P alone brings."""
        rows = [
            (
                layer.name,
                layer.layer,
                str(layer.p),
                f"{layer.times_ms[1]:.3f} → {layer.times_ms[layer.p]:.3f}",
                f"{layer.losses[layer.p]:.2e}",
            )
            for layer in self.layers
        ]
        return Table.of_rows(("name", "layer", "P", "ms", "loss alone"), rows)

    def __str__(self) -> str:
        stay = by_reason("stay as they are", ((other.name, other.reason) for other in self.others))
        return "\n".join([self.verdict, "", f"layers ({len(self.layers)}):", *self.table.lines(), "", *stay])

    def save(self, path: Path | str) -> None:
        """Write the plan as JSON, whole or not at all."""
        save_record(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Raises UsageError or DamagedFileError where there is no plan that can be read."""
        path = Path(path)
        if not path.is_file():
            raise UsageError(f"looked for the plan {path}; it is not there")
        with reading(path):
            data = path.read_bytes()
        try:
            found = adapter(cls).validate_json(data)
        except ValidationError as error:
            raise DamagedFileError(path, f"it is no plan ({error.errors()[0]['msg']})") from error
        if found.format != FORMAT:
            raise UsageError(f"{path} is of format {found.format!r}; this hetconv reads {FORMAT!r}")
        return found
