"""Results as a terminal table, as figures and as one self-contained page; nothing is measured or computed here.

Charts and the page (`figures`, `html`) load matplotlib and jinja2 when they are used.
"""

from hetconv.lab.report.html import write_report
from hetconv.lab.report.joined import joined
from hetconv.lab.report.study import write_study_report
from hetconv.lab.report.summary import Row, summarize
from hetconv.lab.report.terminal import print_layers, print_results, print_verdicts

__all__ = [
    "Row",
    "joined",
    "print_layers",
    "print_results",
    "print_verdicts",
    "summarize",
    "write_report",
    "write_study_report",
]
