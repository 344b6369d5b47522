"""What the page's script needs to tell of a chart's marks: as JSON that is safe inside a script element."""

from __future__ import annotations

import json
from typing import Any

from hetconv.lab.report.curves import mean_curve
from hetconv.lab.report.figures import CURVES
from hetconv.lab.report.palette import looks
from hetconv.lab.results import Results
from hetconv.table import NOTHING, Table


def chart_data(results: Results, table: Table) -> Any:
    """Each variant's name, slot and row in words, and the mean curves, as [epoch, value] lists by chart and slot."""
    from markupsafe import Markup

    seen = looks(table.columns[0].cells)
    words = dict(zip(seen, (_words(table, row) for row in table.rows), strict=True))
    found = {
        "variants": [{"slot": look.slot, "name": name, "words": words[name]} for name, look in seen.items()],
        "curves": {
            chart: {
                look.slot: [[epoch, round(value, 4)] for epoch, value in mean_curve(results.runs, name, of)]
                for name, look in seen.items()
            }
            for chart, of in CURVES.items()
        },
    }
    text = json.dumps(found, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _words(table: Table, row: tuple[str, ...]) -> str:
    """A row of the table in words."""
    cells = zip(table.columns[1:], row[1:], strict=True)
    known = [f"{column.heading} {cell} {column.unit}".rstrip() for column, cell in cells if cell != NOTHING]
    return f"{row[0]}: {', '.join(known)}"
