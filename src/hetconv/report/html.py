"""Results as one HTML file that needs nothing else: no network, no font, no script."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hetconv.files import write_atomically
from hetconv.records import Circumstances, Results, StudySettings
from hetconv.report.cells import columns
from hetconv.report.clean import cleaned
from hetconv.report.figures import Chart, charts
from hetconv.report.kernels import Drawing, drawings, kernel_paths
from hetconv.report.layers import LayerTable, layer_table
from hetconv.report.palette import COLOURS, looks
from hetconv.report.svg import inline_svg
from hetconv.report.table import summarize
from hetconv.report.wording import circumstances_text, further, headline, notes


@dataclass(frozen=True)
class Model:
    """The layers of one variant: their cost, and the drawings of its het layers."""

    variant: str
    table: LayerTable
    drawings: tuple[Drawing, ...]


def write_report(results: Results, path: Path, command: str | None = None) -> None:
    """Write the page, whole or not at all.

    Args:
        command: the command line that made these results, for the part on how to rerun.

    Raises:
        HetconvError: the file cannot be written, or matplotlib is not installed.
    """
    write_atomically(path, report_page(results, command).encode())


def report_page(results: Results, command: str | None = None) -> str:
    """The page as text; the same results give the same text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hetconv.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["kernel_paths"] = kernel_paths
    return environment.get_template("report.html").render(_content(cleaned(results), cleaned(command)))


def _content(results: Results, command: str | None) -> dict[str, Any]:
    """What the template reads."""
    rows = summarize(results)
    in_order = {row.variant: index for index, row in enumerate(rows)}
    shown = columns(rows, results.settings.test_images)
    costs = sorted(results.costs, key=lambda cost: in_order[cost.variant])
    return {
        "settings": results.settings,
        "headline": _unbroken(headline(results)),
        "further": _unbroken(further(results)),
        "columns": shown,
        "rows": [
            (row, [(column.cells[index], column.values[index]) for column in shown]) for index, row in enumerate(rows)
        ],
        "looks": looks(rows),
        "notes": notes(results),
        "measured": circumstances_text(results.circumstances),
        "charts": [(chart, _drawn(chart)) for chart in charts(results)],
        "models": [
            Model(cost.variant, layer_table(cost.complexity), drawings(cost.complexity.layers)) for cost in costs
        ],
        "circumstances": _named(_circumstances(results.circumstances)),
        "recipe": _named(_settings(results.settings)),
        "command": command,
        "colours": COLOURS,
    }


def _drawn(chart: Chart) -> Any:
    from markupsafe import Markup

    # matplotlib and ElementTree have escaped every text in it.
    return Markup(inline_svg(chart.figure, chart.name, chart.alternative)) if chart.figure is not None else None


def _unbroken(text: str) -> str:
    """With no line break inside of 98.1 ± 0.4 %."""
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}").replace(" %", "\N{NO-BREAK SPACE}%")


def _circumstances(circumstances: Circumstances) -> Iterable[tuple[str, object]]:
    yield "Date", circumstances.date
    yield "Processor", circumstances.processor
    yield "Device", circumstances.device
    yield "Threads", f"{circumstances.threads} of {circumstances.cores} cores"
    yield "Number type", circumstances.dtype
    yield "Memory format", circumstances.memory_format
    yield "Batch size", circumstances.batch_size
    yield from circumstances.versions.items()


def _settings(settings: StudySettings) -> Iterable[tuple[str, object]]:
    yield "Network", settings.network
    yield "Data", f"{settings.data}, {settings.num_classes} classes"
    yield "Input", "×".join(map(str, settings.input_size))
    yield "Images", f"{settings.train_images:,} for training, {settings.test_images:,} held out"
    yield "Variants", ", ".join(settings.variants)
    yield "Seeds", ", ".join(map(str, settings.seeds))
    yield from settings.recipe.items()


def _named(pairs: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), str(value)) for name, value in pairs]
