"""What became of every convolution of a model."""

from __future__ import annotations

from dataclasses import dataclass

from hetconv.plain_text import by_reason
from hetconv.table import Table


@dataclass(frozen=True)
class Converted:
    """A convolution that was swapped (or, in a dry run, would be).

    Attributes:
        name: the first of its full module names.
        aliases: its other names, if it is registered in more than one place.
        layer: what it was, in words.
        reason: why this P.
        requested_p: the P that was asked for; None if the block that took its place has none.
        p: the P it got, at most `requested_p`.
        params_before, params_after: parameters, biases counted; after a dry run of `convertible`, a HetConv layer's.
    """

    name: str
    aliases: tuple[str, ...]
    layer: str
    reason: str
    requested_p: int | None
    p: int | None
    params_before: int
    params_after: int


@dataclass(frozen=True)
class Skipped:
    """A convolution that stays as it is, and why."""

    name: str
    aliases: tuple[str, ...]
    layer: str
    reason: str


@dataclass(frozen=True)
class ConversionReport:
    """Every convolution of a model exactly once, in `converted` or in `skipped`, in the model's own order."""

    converted: tuple[Converted, ...]
    skipped: tuple[Skipped, ...]

    @property
    def params_before(self) -> int:
        """Parameters of the converted layers before."""
        return sum(entry.params_before for entry in self.converted)

    @property
    def params_after(self) -> int:
        """Parameters of the converted layers after."""
        return sum(entry.params_after for entry in self.converted)

    def __str__(self) -> str:
        total = len(self.converted) + len(self.skipped)
        head = f"converted {len(self.converted)} of {total} convolutions"
        if self.converted:
            head += f"; their parameters: {self.params_before:,} → {self.params_after:,}"
        skipped = by_reason("skipped", ((_all_names(entry), entry.reason) for entry in self.skipped))
        return "\n".join([head, "", *self._converted_lines(), "", *skipped])

    def _converted_lines(self) -> list[str]:
        rows = [(_all_names(e), e.layer, f"{e.params_before:,} → {e.params_after:,}", e.reason) for e in self.converted]
        return [f"converted ({len(rows)}):", *Table.of_rows(("name", "layer", "parameters", "reason"), rows).lines()]


def _all_names(entry: Converted | Skipped) -> str:
    return " = ".join((entry.name, *entry.aliases))
