"""Texts that terminals print as they are: no name in them can move a cursor, colour a line or turn it round."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from hetconv.plain_text import by_reason, one_line, visible

HARMFUL = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
ANY = st.text(st.characters(codec=None), max_size=30)


def is_harmless(text: str) -> bool:
    return all(unicodedata.category(c) not in HARMFUL for c in text)


@given(ANY)
def test_one_line_is_one_line_and_harmless(text: str) -> None:
    found = one_line(text)
    assert len(found.splitlines()) <= 1
    assert is_harmless(found)
    found.encode()  # also a file's name that is no UTF-8
    assert one_line(found) == found


@given(ANY)
def test_visible_keeps_lines_and_length(text: str) -> None:
    found = visible(text)
    assert len(found) == len(text)
    assert found.count("\n") == text.count("\n")
    assert is_harmless(found.replace("\n", ""))


@given(st.lists(st.tuples(ANY, ANY), max_size=4))
def test_reasons_are_harmless(rows: list[tuple[str, str]]) -> None:
    for line in by_reason("left", rows):
        assert is_harmless(line)


def test_ordinary_text_stays() -> None:
    for text in ("layer1.0.conv2", "3×3, stride 2 → 56×56", "ResNet – größer", "卷积"):
        assert visible(text) == one_line(text) == text
    assert one_line("abcdef", 3) == "abc…"
