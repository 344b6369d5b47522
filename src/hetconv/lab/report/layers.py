"""The per-layer cost as text, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hetconv.lab.report.numbers import NOTHING, Scale, decimals_for, scale_for, size_text
from hetconv.records import Complexity, LayerCost


@dataclass(frozen=True)
class LayerRow:
    """One layer as text; the shares are fractions of the model's MACs and of its layers' measured time."""

    name: str
    kind: str
    channels: str
    kernel: str
    output: str
    macs: str
    params: str
    time: str
    macs_share: float
    time_share: float | None


@dataclass(frozen=True)
class LayerTable:
    """The layers of one model; units stand in the headings, totals in the last row."""

    macs_unit: str
    params_unit: str
    rows: tuple[LayerRow, ...]
    total_macs: str
    total_params: str
    total_time: str


def layer_table(complexity: Complexity) -> LayerTable:
    """Rows in the network's order; a layer that was not timed adds nothing to the total time."""
    layers = complexity.layers
    macs, params = scale_for([complexity.macs]), scale_for([complexity.params])
    times = [layer.latency_ms for layer in layers if layer.latency_ms is not None]
    decimals = min(3, decimals_for(times) + 1)
    total = sum(times)
    return LayerTable(
        macs.unit,
        params.unit,
        tuple(_row(layer, complexity.macs, total, (macs, params), decimals) for layer in layers),
        macs.text(complexity.macs),
        params.text(complexity.params),
        f"{total:.{decimals}f}" if times else NOTHING,
    )


def kind_text(layer: LayerCost) -> str:
    """het P4, grouped 4, dense, …; an arrangement that is not the default is named."""
    if layer.kind == "het":
        return f"het P{layer.p}" + (" blocked" if layer.arrangement == "blocked" else "")
    return f"grouped {layer.groups}" if layer.kind == "grouped" else layer.kind


def _row(layer: LayerCost, all_macs: int, all_time: float, scales: Sequence[Scale], decimals: int) -> LayerRow:
    time = layer.latency_ms
    stride = set(layer.stride) - {1}
    kernel = size_text(layer.kernel_size) + (f" /{max(stride)}" if stride else "")
    return LayerRow(
        name=layer.name + (f" (runs {layer.calls}×)" if layer.calls > 1 else ""),
        kind=kind_text(layer),
        channels=f"{layer.in_channels} → {layer.out_channels}",
        kernel=kernel,
        output=size_text(layer.output_size),
        macs=scales[0].text(layer.macs),
        params=scales[1].text(layer.params),
        time=NOTHING if time is None else f"{time:.{decimals}f}",
        macs_share=layer.macs / all_macs if all_macs else 0.0,
        time_share=time / all_time if time is not None and all_time > 0 else None,
    )
