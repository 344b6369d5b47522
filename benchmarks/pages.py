"""Tables in pages that a script writes, each between two marks: `<!-- name: … -->` and `<!-- /name -->`."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def with_table(page: str, name: str, table: str) -> str:
    """The text of a page with this table between the marks of this name."""
    marks = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->\n)", re.DOTALL)
    assert len(marks.findall(page)) == 1, f"the page has no place for {name}, or several"
    return marks.sub(lambda found: found[1] + table + found[2], page)


def write_table(path: Path, name: str, table: str) -> None:
    path.write_text(with_table(path.read_text(encoding="utf-8"), name, table), encoding="utf-8")
