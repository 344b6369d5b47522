"""What each layer costs as a table, the same on a terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from hetconv.lab.report.numbers import decimals_for, scale_for, size_text
from hetconv.records import Complexity, LayerCost
from hetconv.table import NOTHING, Column, Table


def layer_table(complexity: Complexity) -> Table:
    """Rows in the network's order, their total last; a layer that was not timed adds nothing to the total time."""
    layers = complexity.layers
    times = [layer.latency_ms for layer in layers]
    known = [time for time in times if time is not None]
    decimals = min(3, decimals_for(known) + 1)
    total = sum(known) if known else None
    milliseconds = tuple(NOTHING if time is None else f"{time:.{decimals}f}" for time in (*times, total))
    return Table((
        Column("Layer", (*map(_name, layers), "Total")),
        Column("Kind", (*map(kind_text, layers), "")),
        Column("Channels", (*(f"{layer.in_channels} → {layer.out_channels}" for layer in layers), "")),
        Column("Kernel", (*map(_kernel, layers), "")),
        Column("Output", (*(size_text(layer.output_size) for layer in layers), "")),
        _counts("MACs", [layer.macs for layer in layers], complexity.macs),
        _counts("Parameters", [layer.params for layer in layers], complexity.params),
        Column("Time", milliseconds, "ms", _shares(times, total)),
    ))  # fmt: skip


def kind_text(layer: LayerCost) -> str:
    """het P4, grouped 4, dense, …; an arrangement that is not the default is named."""
    if layer.kind == "het":
        return f"het P{layer.p}" + (" blocked" if layer.arrangement == "blocked" else "")
    return f"grouped {layer.groups}" if layer.kind == "grouped" else layer.kind


def _name(layer: LayerCost) -> str:
    return layer.name + (f" (runs {layer.calls}×)" if layer.calls > 1 else "")


def _kernel(layer: LayerCost) -> str:
    stride = set(layer.stride) - {1}
    return size_text(layer.kernel_size) + (f" /{max(stride)}" if stride else "")


def _counts(heading: str, counts: Sequence[int], total: int) -> Column:
    scale = scale_for([total])
    return Column(heading, tuple(map(scale.text, (*counts, total))), scale.unit, _shares(counts, total))


def _shares(values: Sequence[float | None], total: float | None) -> tuple[float | None, ...]:
    """None for what is not known, and for the total itself."""
    return (*(value / total if value is not None and total else None for value in values), None)
