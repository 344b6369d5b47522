"""A table reads the same however it is shown, and no name in it can do harm."""

import io
import unicodedata
from unicodedata import east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hetconv.table import Column, Table

HARMFUL = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
ANY = st.text(st.characters(codec=None), max_size=30)
TABLE = Table.of_rows(
    ("name", "layer", "median time of one call, ms", "reason"),
    [("0", "3 → 4", "1,234.50", "it is | not"), ("features.1", "8 → 8", "–", "")],
    ("measured on channels_last",),
)


def test_numbers_stand_on_the_right_below_a_narrow_heading() -> None:
    assert TABLE.lines() == [
        "                       median",
        "                      time of",
        "                          one",
        "  name        layer  call, ms  reason",
        "  0           3 → 4  1,234.50  it is | not",
        "  features.1  8 → 8         –",
        "  measured on channels_last",
    ]


def test_markdown_is_read_as_it_is_written() -> None:
    assert (
        TABLE.markdown()
        == """\
| name | layer | median time of one call, ms | reason |
| --- | ---: | ---: | --- |
| 0 | 3 → 4 | 1,234.50 | it is \\| not |
| features.1 | 8 → 8 | – |  |

measured on channels_last
"""
    )


def test_a_narrow_terminal_folds_names_and_keeps_numbers_whole() -> None:
    console = Console(file=io.StringIO(), width=40)
    console.print(Table.of_rows(("name", "time, ms"), [("[bold]" + "x" * 60, "123456.789")]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 40
    assert "123456.789" in text
    assert text.count("x") == 60
    assert "[bold]" in text


def test_what_is_too_wide_for_a_terminal_stands_below_with_the_names() -> None:
    console = Console(file=io.StringIO(), width=30)
    headings = [f"milliseconds{i}" for i in range(4)]
    console.print(Table.of_rows(("name", *headings), [("conv", *"1234"), ("fc", *"5678")]))
    rows = [line.split() for line in console.file.getvalue().splitlines() if "conv" in line]  # type: ignore[attr-defined]
    assert rows == [["conv", "1"], ["conv", "2"], ["conv", "3"], ["conv", "4"]]


def test_no_rows_are_none() -> None:
    assert Table.of_rows(("name", "reason"), []).lines() == ["  none"]


def test_empty_columns_can_be_left_out() -> None:
    table = Table((Column("name", ("a", "b")), Column("time", ("–", ""), "ms"), Column("MACs", ("–", "2"), "M")))
    assert [column.title for column in table.without_empty_columns().columns] == ["name", "MACs, M"]


@pytest.mark.parametrize(
    ("cells", "is_of_numbers"),
    [
        (("−0.30 (−1.00 to 0.40)", "–"), True),
        (("<0.01", "+2"), True),
        (("3×3", ""), True),
        (("2 of 2", "1e-07"), True),
        (("het-p4", "1"), False),
        (("25.4 ms (ncnn)", "1"), False),
        (("–", "–"), False),
        ((), False),
    ],
)
def test_columns_of_numbers(cells: tuple[str, ...], is_of_numbers: bool) -> None:
    assert Column("x", cells).is_of_numbers is is_of_numbers


def test_wide_characters_line_up() -> None:
    *_, first, second = Table.of_rows(("name", "P"), [("卷积", "4"), ("conv", "8")]).lines()
    assert [sum(1 + (east_asian_width(c) == "W") for c in line) for line in (first, second)] == [9, 9]


@given(st.lists(st.tuples(ANY, ANY), max_size=4), ANY)
def test_whatever_is_in_it_is_harmless(rows: list[tuple[str, str]], note: str) -> None:
    table = Table.of_rows(("name", "reason"), rows, (note,))
    for text in (*table.lines(), *table.markdown().splitlines()):
        assert all(unicodedata.category(c) not in HARMFUL for c in text)
