"""How a network bears changes of one layer at a time: a table, and a picture for each kind of change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from hetconv.lab.report.figures import Chart
from hetconv.lab.report.numbers import accuracy_decimals
from hetconv.lab.results import Probe, Sensitivity, SensitivityResults
from hetconv.table import NOTHING, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["p", "share"]
TITLES: dict[Kind, str] = {"p": "Accuracy against P, one layer at a time", "share": "Accuracy against filters removed"}
NAMED_LAYERS = 6
"""So many layers, those lowest on average, are drawn in colours and named."""


def sensitivity_table(results: SensitivityResults) -> Table:
    """Accuracy in % for each layer and change; whose accuracies these are, what was not tried and why."""
    found = results.sensitivity
    decimals = accuracy_decimals(found.images)
    columns = [(kind, value) for kind in TITLES for value in values_of(found, kind)]
    cells = {(probe.layer, probe.kind, probe.value): f"{100 * probe.accuracy:.{decimals}f}" for probe in found.probes}
    rows = [
        (layer, *(cells.get((layer, kind, value), NOTHING) for kind, value in columns))
        for layer in layers_of(found.probes)
    ]
    headings = ("Layer", *(_heading(kind, value) for kind, value in columns))
    return Table.of_rows(headings, rows, (headline(results), *skipped_lines(found)))


def headline(results: SensitivityResults) -> str:
    """Whose accuracies these are, and which layer bears least."""
    found = results.sensitivity
    decimals = accuracy_decimals(found.images)
    seen = {
        True: "on which it was trained",
        False: "on which it was not trained",
        None: "which it may have been trained on",
    }
    text = (
        f"Accuracy in % of {results.network} {results.variant} ({results.training}) without retraining, on "
        f"{found.images:,} training images of {results.data}, {seen[results.seen]}; unchanged it is "
        f"{100 * found.accuracy:.{decimals}f} %."
    )
    for kind, words in (("p", "P={:g} of"), ("share", "Removing {:.0%} of")):
        probes = [probe for probe in found.probes if probe.kind == kind]
        if probes:
            worst = min(probes, key=lambda probe: probe.accuracy)
            points = 100 * (found.accuracy - worst.accuracy)
            text += f" {words.format(worst.value)} {worst.layer} costs most, {points:.{decimals}f} points."
    return text


def skipped_lines(found: Sensitivity) -> list[str]:
    """What was not tried, layers of one reason together."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for skip in found.skipped:
        by_reason.setdefault((_heading(skip.kind, skip.value), skip.reason), []).append(skip.layer)
    lines = [f"not tried, {what}: {', '.join(layers)} ({reason})" for (what, reason), layers in by_reason.items()]
    return lines or ["not tried: none"]


def sensitivity_charts(results: SensitivityResults) -> tuple[Chart, ...]:
    """A chart for each kind of change that was tried."""
    kinds = {probe.kind for probe in results.sensitivity.probes}
    return tuple(_chart(results, kind) for kind in TITLES if kind in kinds)


def layers_of(probes: Sequence[Probe]) -> list[str]:
    """The layers in the order in which they were changed."""
    return list(dict.fromkeys(probe.layer for probe in probes))


def values_of(found: Sensitivity, kind: Kind) -> list[float]:
    return sorted({probe.value for probe in found.probes if probe.kind == kind})


def _chart(results: SensitivityResults, kind: Kind) -> Chart:
    found = results.sensitivity
    probes = [probe for probe in found.probes if probe.kind == kind]
    decimals = accuracy_decimals(found.images)
    words = "; ".join(
        f"{layer} {', '.join(f'{100 * probe.accuracy:.{decimals}f} %' for probe in probes if probe.layer == layer)}"
        for layer in layers_of(probes)
    )
    values = ", ".join(_heading(kind, value) for value in values_of(found, kind))
    title = TITLES[kind]
    caption = (
        "Each line is one layer, the others unchanged and nothing retrained. "
        f"Named: the {NAMED_LAYERS} lowest on average."
    )
    return Chart(f"sensitivity-{kind}", title, caption, f"{title} ({values}): {words}.", _figure(found, probes, kind))


def _figure(found: Sensitivity, probes: Sequence[Probe], kind: Kind) -> Figure:
    from hetconv.lab.report.axes import report_style
    from hetconv.lab.report.layer_curves import Curve, layer_curves

    curves = []
    for layer in layers_of(probes):
        own = sorted((probe.value, probe.accuracy) for probe in probes if probe.layer == layer)
        start = (1.0 if kind == "p" else 0.0, found.accuracy)
        points = [(value if kind == "p" else 100 * value, 100 * accuracy) for value, accuracy in (start, *own)]
        curves.append(Curve(layer, tuple(points)))
    names = {"p": "P of the one layer", "share": "filters removed from the one layer, %"}
    with report_style():
        return layer_curves(curves, names[kind], f"sensitivity-{kind}", NAMED_LAYERS, doubling=kind == "p")


def _heading(kind: str, value: float) -> str:
    return f"P={value:g}" if kind == "p" else f"−{100 * value:g}%"
