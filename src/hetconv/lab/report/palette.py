"""The colours and marks that every figure and table shares: colour-blind-safe, and never the only distinction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hetconv.lab.report.summary import DENSE

# Name on the page → colour on light ground, on dark ground. Series are Okabe and Ito's hues, darkened (lightened) to
# a contrast of at least 3 to 1 with the ground.
INK = ("ink", "#1b2430", "#e7ebf0")
MUTED = ("muted", "#56616e", "#a3adb9")
GRID = ("grid", "#dde2e8", "#323b46")
SERIES = (
    ("series-0", "#3f4854", "#c9d1db"),
    ("series-1", "#0072b2", "#5bb5ea"),
    ("series-2", "#d05a00", "#f3935a"),
    ("series-3", "#00875f", "#41cb9d"),
    ("series-4", "#b4548a", "#e79cc7"),
    ("series-5", "#8a6b00", "#dfba45"),
    ("series-6", "#3488bd", "#a5d8f7"),
)
COLOURS = (INK, MUTED, GRID, *SERIES)
MARKS = (
    ("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"), ("p", "⬟"), ("<", "◀"),
    (">", "▶"), ("*", "★"), ("H", "⬢"),
)  # fmt: skip
NAME_LENGTH = 20


@dataclass(frozen=True)
class Look:
    """How one variant is drawn everywhere: `slot` numbers it in ids, `glyph` is its mark as a character."""

    slot: int
    colour: str
    css: str
    marker: str
    glyph: str


def looks(variants: Iterable[str]) -> dict[str, Look]:
    """The look of each variant: one colour a method, one mark a variant; dense is always the grey one."""
    names = list(dict.fromkeys(variants))
    methods = list(dict.fromkeys([DENSE, *map(method, names)]))
    shift = 0 if DENSE in names else 1
    return {name: _look(slot, methods.index(method(name))) for slot, name in enumerate(names, start=shift)}


def method(variant: str) -> str:
    """het of het-p4 and het-p8-se, gwc of gwc4-pwc."""
    return variant.partition("-")[0].rstrip("0123456789")


def short_name(variant: str) -> str:
    """A name that leaves room for the figure."""
    return variant if len(variant) <= NAME_LENGTH else f"{variant[: NAME_LENGTH - 1]}…"


def _look(slot: int, colour: int) -> Look:
    name, light, _ = SERIES[0] if colour == 0 else SERIES[1 + (colour - 1) % (len(SERIES) - 1)]
    marker, glyph = MARKS[slot % len(MARKS)]
    return Look(slot, light, f"var(--{name})", marker, glyph)
