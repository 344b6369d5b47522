"""Results as one HTML file that needs nothing else: no network, no font, and its one small script inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from hetconv.files import write_atomically
from hetconv.lab.report.chart_data import chart_data
from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.figures import Chart, cost_charts, further_charts
from hetconv.lab.report.kernels import Drawing, drawings, kernel_paths
from hetconv.lab.report.layers import layer_table
from hetconv.lab.report.palette import COLOURS, looks
from hetconv.lab.report.result_table import further_table, result_table
from hetconv.lab.report.summary import summarize
from hetconv.lab.report.svg import inline_svg
from hetconv.lab.report.wording import absent, further, headline, notes, verdict_count
from hetconv.lab.results import Results, StudyResults, StudySettings
from hetconv.lab.statistics import verdicts
from hetconv.records import Circumstances, Complexity
from hetconv.table import Table


@dataclass(frozen=True)
class Model:
    """The layers of one variant: their cost, and the drawings of its het layers."""

    variant: str
    summary: str
    table: Table
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
    """The page of one network as text; the same results give the same text."""
    return study_page(StudyResults("", "", (results,)), command)


def study_page(study: StudyResults, command: str | None = None) -> str:
    """The page of a study as text: verdicts, then each network; the same results give the same text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hetconv.lab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["kernel_paths"] = kernel_paths
    return environment.get_template("report.html").render(_content(cleaned(study), cleaned(command)))


def _content(study: StudyResults, command: str | None) -> dict[str, Any]:
    """What the template reads."""
    from markupsafe import Markup

    script = files("hetconv.lab.report").joinpath("templates/report.js").read_text(encoding="utf-8")
    parts = [_part(results, number, len(study.networks)) for number, results in enumerate(study.networks)]
    found = [replace(verdict, words=_unbroken(verdict.words)) for verdict in verdicts(study)]
    first = study.networks[0].settings if study.networks else None
    named = f"{first.network} on {first.data}" if first is not None else study.name
    return {
        "title": study.title or (study.name if len(parts) > 1 else named),
        "verdicts": found,
        "verdict_count": verdict_count(found),
        "anchors": {
            (results.settings.network, variant): f"{part['prefix']}row-{look.slot}"
            for results, part in zip(study.networks, parts, strict=True)
            for variant, look in part["looks"].items()
        },
        "parts": parts,
        "command": command,
        "definition": study.definition,
        "recipe_source": study.recipe_source.rstrip("."),
        "colours": COLOURS,
        "script": Markup(script),
        "script_hash": base64.b64encode(sha256(script.encode()).digest()).decode(),
    }


def _part(results: Results, number: int, of: int) -> dict[str, Any]:
    """One network; ids of the second and further ones have a prefix or a suffix."""
    seen = looks(row.variant for row in summarize(results))
    costs = sorted(results.costs, key=lambda cost: seen[cost.variant].slot)
    table, found = result_table(results), notes(results)
    choice = cost_charts(results)
    prefix = f"n{number + 1}-" if number else ""
    return {
        "prefix": prefix,
        "suffix": f"-{number + 1}" if number else "",
        "of": f": {results.settings.network}" if of > 1 else "",
        "headline": _unbroken(headline(results)),
        "further": _unbroken(further(results)),
        "table": table,
        "further_table": further_table(results),
        "looks": seen,
        "notes": [note for note in found if note.items],
        "absent": absent(found),
        "choice": [(chart, _drawn(chart, prefix)) for chart in choice],
        "chosen": next((chart.name for chart in choice if chart.figure is not None), choice[0].name),
        "charts": [(chart, _drawn(chart, prefix)) for chart in further_charts(results)],
        "models": [
            Model(
                cost.variant, _summary(cost.complexity), layer_table(cost.complexity), drawings(cost.complexity.layers)
            )
            for cost in costs
        ],
        "circumstances": _named(_circumstances(results.circumstances)),
        "recipe": _named(_settings(results.settings)),
        "data": chart_data(results, table),
    }


def _summary(complexity: Complexity) -> str:
    """How many layers there are, and what they cost together."""
    *_, macs, _, time = layer_table(complexity).columns
    taken = "no time by layer" if time.is_empty else f"{time.cells[-1]} {time.unit} in its layers"
    return f"{len(complexity.layers)} layers, {macs.cells[-1]} {macs.unit} MACs, {taken}"


def _drawn(chart: Chart, prefix: str) -> Any:
    from markupsafe import Markup

    # matplotlib and ElementTree have escaped every text in it.
    return (
        Markup(inline_svg(chart.figure, prefix + chart.name, chart.alternative)) if chart.figure is not None else None
    )


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
    if settings.weights is not None:
        yield "Begun from", settings.weights
    yield from settings.recipe.items()


def _named(pairs: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _said(value)) for name, value in pairs]


def _said(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) if value else "none"
    return str(value)
