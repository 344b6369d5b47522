"""One table, however it is shown: on a terminal, as lines of a report, as Markdown; pages read its columns and rows."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hetconv.plain_text import one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table as RichTable

NOTHING = "–"
"""The cell of what is not known."""
NUMBER = re.compile(r"[+−<-]?\d(?!.*[^\W\d_]{3})")
"""A number, perhaps with others and short words behind it."""
SPECIAL = re.compile(r"[\\`*{}\[\]<>#|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
NARROWEST = 12
"""Names are folded to this many characters, not to fewer."""
WIDEST = 10_000
"""No report is wider."""
GAP = 2


@dataclass(frozen=True)
class Column:
    """One column, with one cell a row.

    Attributes:
        unit: of all its numbers.
        shares: the part of each cell in the whole, from 0 to 1, for a page to draw; empty for no such parts.
    """

    heading: str
    cells: tuple[str, ...]
    unit: str = ""
    shares: tuple[float | None, ...] = ()

    @property
    def title(self) -> str:
        """The heading with the unit."""
        return f"{self.heading}, {self.unit}" if self.unit else self.heading

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known in any row."""
        return all(cell in ("", NOTHING) for cell in self.cells)

    @property
    def is_of_numbers(self) -> bool:
        """Whether its cells begin with numbers; such columns stand on the right."""
        return not self.is_empty and all(cell in ("", NOTHING) or NUMBER.match(cell) for cell in self.cells)

    @property
    def least_width(self) -> int:
        """In characters: of numbers what the longest takes, and each word of the heading; names may be folded."""
        longest = max(map(len, self.cells), default=0)
        return max(longest, *map(len, self.title.split()), 4) if self.is_of_numbers else min(longest, NARROWEST)


@dataclass(frozen=True)
class Table:
    """Columns of equal length, the first of which names the rows, and sentences on how to read them."""

    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of_rows(cls, headings: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()) -> Table:
        """A table whose headings say the units."""
        rows = list(rows)
        columns = zip(*rows, strict=True) if rows else [()] * len(headings)
        return cls(tuple(map(Column, headings, columns)), tuple(notes))

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The cells, row by row."""
        return tuple(zip(*(column.cells for column in self.columns), strict=True))

    def without_empty_columns(self) -> Table:
        """The same without columns in which nothing is known."""
        names, *others = self.columns
        return replace(self, columns=(names, *(column for column in others if not column.is_empty)))

    def lines(self) -> list[str]:
        """Lines of a report, as wide as they need to be; "none" for a table without rows."""
        from rich.console import Console

        if not self.rows:
            return ["  none"]
        text = io.StringIO()
        wide = Console(file=text, width=WIDEST, color_system=None, force_terminal=False, force_jupyter=False)
        grid = _grid(self.columns)
        grid.box, grid.padding = None, (0, GAP, 0, 0)
        wide.print(grid)
        lines = [*text.getvalue().splitlines(), *map(one_line, self.notes)]
        return [f"  {line}".rstrip() for line in lines]

    def markdown(self) -> str:
        """A table of Markdown, and its notes below."""
        heads = [escaped(column.title) for column in self.columns]
        sides = ["---", *("---:" if column.is_of_numbers else "---" for column in self.columns[1:])]
        lines = [heads, sides, *([escaped(cell) for cell in row] for row in self.rows)]
        notes = [text for note in self.notes for text in ("", escaped(note))]
        return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), *notes, ""])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Names are folded, numbers never are: where it is too wide, further columns stand below, with the names."""
        from rich.text import Text

        first, *others = self.columns
        part = [first]
        for column in others:
            if sum(one.least_width + GAP for one in (*part, column)) - GAP > options.max_width and len(part) > 1:
                yield _grid(part)
                yield ""
                part = [first]
            part.append(column)
        yield _grid(part)
        yield from (Text(one_line(note), style="dim") for note in self.notes)


def _grid(columns: Sequence[Column]) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        width = column.least_width
        if index and column.is_of_numbers:
            heading = textwrap.fill(column.title, width, break_long_words=False, break_on_hyphens=False)
            grid.add_column(Text(heading), justify="right", no_wrap=True)
        else:
            grid.add_column(Text(column.title), overflow="fold", min_width=width)
    for row in zip(*(column.cells for column in columns), strict=True):
        grid.add_row(*(Text(one_line(cell)) for cell in row))
    return grid


def escaped(text: str) -> str:
    """As Markdown on one line that reads as it is written."""
    return SPECIAL.sub(r"\\\g<0>", one_line(text))
