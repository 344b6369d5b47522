"""A study's report in its folder: the page, the same as Markdown, and its runs as CSV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hetconv.files import write_atomically
from hetconv.lab.report.clean import cleaned
from hetconv.lab.report.html import study_page
from hetconv.lab.report.result_table import further_table, result_table
from hetconv.lab.report.runs_csv import runs_csv
from hetconv.lab.report.wording import absent, notes
from hetconv.lab.results import Results, StudyResults
from hetconv.lab.statistics import verdicts
from hetconv.table import Table, escaped


def write_study_report(study: StudyResults, folder: Path, command: str | None = None) -> Path:
    """Write report.html, report.md and runs.csv, each whole or not at all; returns the page's path.

    Args:
        command: the command line that made these results, for the part on how to rerun.

    Raises:
        HetconvError: a file cannot be written, or matplotlib is not installed.
    """
    write_atomically(folder / "runs.csv", runs_csv(study).encode())
    write_atomically(folder / "report.md", study_markdown(study).encode())
    write_atomically(folder / "report.html", study_page(study, command).encode())
    return folder / "report.html"


def study_markdown(study: StudyResults) -> str:
    """Verdicts, then the tables of each network; the same study gives the same text."""
    study = cleaned(study)
    lines = [f"# {escaped(study.title or study.name)}", ""]
    found = [(v.claim.text, v.network, v.text, v.words, v.claim.source) for v in verdicts(study)]
    if found:
        lines.append(Table.of_rows(("Claim", "Network", "Verdict", "What was found", "Source"), found).markdown())
    for results in study.networks:
        lines += _network(results)
    if study.recipe_source:
        lines += [f"Recipe: {escaped(study.recipe_source)}.", ""]
    return "\n".join(lines)


def _network(results: Results) -> Iterable[str]:
    found = notes(results)
    yield from [f"## {escaped(results.settings.network)} on {escaped(results.settings.data)}", ""]
    yield from [result_table(results).markdown(), further_table(results).markdown()]
    yield from (f"- {note.title}: {escaped('; '.join(note.items))}" for note in found if note.items)
    yield from [f"- {absent(found)}" if absent(found) else "", ""]
