"""A study's reports: one page, one Markdown file and one CSV file of its runs."""

from __future__ import annotations

from pathlib import Path

from hetconv.files import write_atomically
from hetconv.lab.report.html import study_page
from hetconv.lab.report.markdown import study_markdown
from hetconv.lab.report.runs_csv import runs_csv
from hetconv.lab.results import StudyResults


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
