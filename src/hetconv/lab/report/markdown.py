"""A study as Markdown: verdicts, then a table for each network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hetconv.lab.report.cells import columns
from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.seed_columns import seed_columns
from hetconv.lab.report.table import summarize
from hetconv.lab.report.wording import circumstances_text, notes
from hetconv.lab.results import Results, StudyResults
from hetconv.lab.statistics import verdicts

SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>#|~"})


def study_markdown(study: StudyResults) -> str:
    """The same study gives the same text."""
    study = cleaned(study)
    lines = [f"# {_safe(study.title or study.name)}", ""]
    found = verdicts(study)
    if found:
        lines += _table(
            ["Claim", "Network", "Verdict", "What was found", "Source"],
            [
                [verdict.claim.text, verdict.network, f"**{verdict.text}**", verdict.words, verdict.claim.source]
                for verdict in found
            ],
            bold=2,
        )
    for results in study.networks:
        lines += _network(results)
    if study.recipe_source:
        lines += [f"Recipe: {_safe(study.recipe_source)}.", ""]
    return "\n".join(lines)


def _network(results: Results) -> Iterable[str]:
    rows = summarize(results)
    shown = (*columns(rows, results.settings.test_images), *seed_columns(results, rows))
    heads = [f"{column.title}, {column.unit}" if column.unit else column.title for column in shown]
    cells = [[row.variant, *(column.cells[index] for column in shown)] for index, row in enumerate(rows)]
    yield from [f"## {_safe(results.settings.network)} on {_safe(results.settings.data)}", ""]
    yield from _table(["Variant", *heads], cells)
    yield from [f"Times measured on {_safe(circumstances_text(results.circumstances))}.", ""]
    for note in notes(results):
        yield f"- {note.title}: {_safe('; '.join(note.items)) or 'none'}"
    yield ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> Iterable[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell if index == bold else _safe(cell) for index, cell in enumerate(row))} |"
    yield ""


def _safe(text: str) -> str:
    """On one line, and read as it is written."""
    return " ".join(text.split()).translate(SPECIAL)
