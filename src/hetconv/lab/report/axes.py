"""Axes in the report's one style, made without pyplot so that no global state is touched."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hetconv.errors import HetconvError
from hetconv.lab.report.palette import GRID, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH_INCHES = 5.0
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
