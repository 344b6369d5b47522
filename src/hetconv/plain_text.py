"""Reports as plain text: tables whose columns line up, and names gathered under the reason that they share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table; "none" where it has no rows."""
    if not rows:
        return ["  none"]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def by_reason(title: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    """One paragraph a reason, since a deep network has dozens of names for the same one.

    Args:
        entries: (name, reason)
    """
    names_of: dict[str, list[str]] = {}
    for name, reason in entries:
        names_of.setdefault(reason, []).append(name)
    lines = [f"{title} ({sum(map(len, names_of.values()))}):"]
    for reason, names in names_of.items():
        lines.append(f"  {reason} ({len(names)}):")
        lines.extend(textwrap.wrap(", ".join(names), WIDTH, initial_indent="    ", subsequent_indent="    "))
    return lines if names_of else [*lines, "  none"]
