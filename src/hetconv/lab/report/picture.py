"""Figures as PNG files, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from hetconv.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path, dots_per_inch: int = 200) -> None:
    """Write a figure on white.

    Raises:
        HetconvError: the file cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dots_per_inch, facecolor="white", metadata={"Software": None})
    write_atomically(path, drawn.getvalue())
