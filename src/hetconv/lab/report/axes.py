"""Axes in the report's one style, made without pyplot so that no global state is touched."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hetconv.errors import HetconvError
from hetconv.files import write_atomically
from hetconv.lab.report.palette import GRID, INK, MUTED, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH_INCHES = 5.0
LEGEND_FONT = 8.0
INCHES_PER_NAME = 0.155
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hetconv",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.linewidth": 0.8,
    "axes.edgecolor": MUTED[1],
    "axes.labelcolor": MUTED[1],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID[1],
    "grid.linewidth": 0.8,
    "text.color": INK[1],
    "xtick.color": MUTED[1],
    "ytick.color": MUTED[1],
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
}


@contextmanager
def report_style() -> Iterator[None]:
    """The style while a figure is made or written.

    Raises:
        HetconvError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise HetconvError("figures need matplotlib: pip install matplotlib") from error
    # A reader's own matplotlibrc must not change the report; the backend is not ours to touch.
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    with matplotlib.rc_context(defaults | STYLE), warnings.catch_warnings():
        # The reader has fonts of his own: a glyph that DejaVu lacks is missing from the measured width only.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_axes(height_inches: float, left: float, right: float, top: float = 0.32) -> tuple[Figure, Axes]:
    """One pair of axes; `left`, `right` and `top` are margins in inches, below is room for numbers and a name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=144)
    figure.patch.set_alpha(0)
    axes = figure.add_axes(
        (left / WIDTH_INCHES, 0.5 / height_inches, 1 - (left + right) / WIDTH_INCHES, 1 - (0.5 + top) / height_inches)
    )
    axes.patch.set_alpha(0)
    return figure, axes


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Both names horizontal: y above the axis, where it is read first."""
    axes.set_xlabel(x, loc="right")
    axes.set_title(y, loc="left", fontsize=9.0, color=MUTED[1], pad=9, x=0)


def name_ticks(axis: Axis, whole: bool = False) -> None:
    """Few round numbers (`whole` ones for counts), written plainly on a logarithmic axis too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10], integer=whole))


def room_for_names(names: Sequence[str]) -> tuple[float, float]:
    """The height of a figure, and its margin on the right, that leave room for `write_names`, in inches."""
    longest = max((len(short_name(name)) for name in names), default=0)
    return max(3.3, 0.9 + INCHES_PER_NAME * len(names)), 0.5 + 0.072 * longest


def write_names(axes: Axes, marks: Sequence[tuple[str, Line2D]], gids: Sequence[str]) -> None:
    """Write the name of each mark on the right of the axes, one under another, and the mark before it."""
    legend = axes.legend(
        [mark for _, mark in marks], ["?"] * len(marks), loc="upper left", bbox_to_anchor=(1.01, 1.0),
        fontsize=LEGEND_FONT, frameon=False, borderaxespad=0.0, labelspacing=0.35, handlelength=1.4, handletextpad=0.5,
    )  # fmt: skip
    for text, key, (name, _), gid in zip(legend.get_texts(), legend.legend_handles, marks, gids, strict=True):
        text.set(text=short_name(name), parse_math=False, gid=f"{gid}-text")
        if key is not None:
            key.set_gid(f"{gid}-key")


def save_figure(figure: Figure, path: Path, dots_per_inch: int = 200) -> None:
    """Write a figure as PNG on white, whole or not at all.

    Raises:
        HetconvError: the file cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dots_per_inch, facecolor="white", metadata={"Software": None})
    write_atomically(path, drawn.getvalue())
