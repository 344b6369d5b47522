"""Results on a terminal, and as readable text of 80 columns where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.layers import layer_table
from hetconv.lab.report.result_table import further_table, result_table
from hetconv.lab.report.wording import Note, absent, circumstances_text, further, headline, notes
from hetconv.lab.results import Results, StudyResults
from hetconv.lab.statistics import verdicts
from hetconv.records import Circumstances, Complexity


def print_results(results: Results, console: Console) -> None:
    """The tables of a study, what was found in a sentence, and what is missing."""
    results = cleaned(results)
    console.print(result_table(results))
    print_text(f"{headline(results)} {further(results)}".strip(), console)
    console.print()
    console.print(further_table(results))
    _print_notes(notes(results), console)


def print_verdicts(study: StudyResults, console: Console) -> None:
    """What became of each claim of a study."""
    for verdict in verdicts(cleaned(study)):
        print_text(f"{verdict.text}: {verdict.claim.text} ({verdict.network}; {verdict.words})", console)


def print_layers(complexity: Complexity, console: Console, circumstances: Circumstances | None = None) -> None:
    """What every layer of a model costs: MACs and parameters counted, time measured where there is one."""
    complexity = cleaned(complexity)
    console.print(layer_table(complexity))
    if circumstances is not None:
        print_text(f"Measured on {circumstances_text(cleaned(circumstances))}.", console)
    _print_notes((Note("Operations not counted in MACs", complexity.uncounted),), console)


def print_text(text: str, console: Console) -> None:
    """Without markup, which names may hold."""
    console.print(Text(text), highlight=False)


def _print_notes(found: tuple[Note, ...], console: Console) -> None:
    for note in found:
        if note.items:
            print_text("\n".join((f"{note.title}:", *(f"  {item}" for item in note.items))), console)
    if absent(found):
        print_text(absent(found), console)
