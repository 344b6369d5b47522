"""Results as tables in a terminal, and as readable text of 80 columns where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hetconv.lab.report.cells import Column, columns
from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.layers import layer_table
from hetconv.lab.report.table import summarize
from hetconv.lab.report.wording import Note, circumstances_text, further, headline, notes
from hetconv.lab.results import Results, StudyResults
from hetconv.lab.statistics import verdicts
from hetconv.records import Circumstances, Complexity

WIDE = 110
WIDE_ONLY = ("paper_flops", "extra_layers")
SHORTER = {"Parameters": "Param.", "Speed-up by count": "Speed-up\nby count"}


def print_results(results: Results, console: Console) -> None:
    """The table of a study, what was found in a sentence, its circumstances, and what is missing."""
    results = cleaned(results)
    rows = summarize(results)
    shown = [
        column
        for column in columns(rows, results.settings.test_images)
        if console.width >= WIDE or column.key not in WIDE_ONLY
    ]
    table = _table(gap=int(console.width >= WIDE))
    table.add_column("Variant", overflow="fold", min_width=7)
    for column in shown:
        table.add_column(_heading(column.title, column.unit), justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        table.add_row(Text(row.variant), *(Text(_shorter(column, index)) for column in shown))
    console.print(table)
    _print(console, f"{headline(results)} {further(results)}".strip())
    _print(console, f"Measured on {circumstances_text(results.circumstances)}.", "dim")
    for note in notes(results):
        _print_note(console, note)


def print_verdicts(study: StudyResults, console: Console) -> None:
    """What became of each claim of a study."""
    for verdict in verdicts(cleaned(study)):
        _print(console, f"{verdict.text}: {verdict.claim.text} ({verdict.network}; {verdict.words})")


def print_layers(complexity: Complexity, console: Console, circumstances: Circumstances | None = None) -> None:
    """What every layer of a model costs: MACs and parameters counted, time measured where there is one."""
    complexity = cleaned(complexity)
    content = layer_table(complexity)
    table = _table(show_footer=True)
    table.add_column("Layer", "Total", overflow="fold", min_width=8)
    table.add_column("Kind", overflow="fold")
    for title in ("Channels", "Kernel", "Output"):
        table.add_column(title, justify="right", no_wrap=True)
    numbers = (
        (_heading("MACs", content.macs_unit), content.total_macs),
        (_heading("Parameters", content.params_unit), content.total_params),
        (_heading("Time", "ms"), content.total_time),
    )
    for heading, total in numbers:
        table.add_column(heading, total, justify="right", no_wrap=True)
    for row in content.rows:
        texts = (row.name, row.kind, row.channels, row.kernel, row.output, row.macs, row.params, row.time)
        table.add_row(*map(Text, texts))
    console.print(table)
    if circumstances is not None:
        _print(console, f"Measured on {circumstances_text(cleaned(circumstances))}.", "dim")
    _print_note(console, Note("Not counted in MACs", complexity.uncounted))


def _table(gap: int = 1, show_footer: bool = False) -> Table:
    return Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap, 0, 0), show_footer=show_footer, header_style="bold"
    )


def _heading(title: str, unit: str) -> Text:
    """The words of a title one under another, so that a column is as narrow as its numbers."""
    words = SHORTER[title] if title in SHORTER else "\n".join(title.split())
    return Text(f"{words}\n{unit}".rstrip())


def _shorter(column: Column, index: int) -> str:
    return column.cells[index].replace(" of ", "/") if column.key == "runs" else column.cells[index]


def _print_note(console: Console, note: Note) -> None:
    if not note.items:
        _print(console, f"{note.title}: none.")
        return
    _print(console, f"{note.title}:")
    _print_items(console, note.items)


def _print_items(console: Console, items: Sequence[str]) -> None:
    for item in items:
        _print(console, f"  {item}")


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), highlight=False)
