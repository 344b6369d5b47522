"""Texts for people: names made harmless, and gathered under the reason they share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 120


def visible(text: str) -> str:
    """The text with every character that a terminal would obey, or XML cannot hold, replaced by �; lines stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str, longest: int | None = None) -> str:
    """The text in one visible line, cut at `longest` characters."""
    line = visible(" ".join(text.split()))
    return line if longest is None or len(line) <= longest else f"{line[:longest]}…"


def by_reason(title: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    """One paragraph a reason, since a deep network has dozens of names for the same one.

    Args:
        entries: (name, reason)
    """
    names_of: dict[str, list[str]] = {}
    for name, reason in entries:
        names_of.setdefault(one_line(reason), []).append(one_line(name))
    lines = [f"{title} ({sum(map(len, names_of.values()))}):"]
    for reason, names in names_of.items():
        lines.append(f"  {reason} ({len(names)}):")
        lines.extend(textwrap.wrap(", ".join(names), WIDTH, initial_indent="    ", subsequent_indent="    "))
    return lines if names_of else [*lines, "  none"]
