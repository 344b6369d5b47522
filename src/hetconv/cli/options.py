"""Options that several commands have and no settings state, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hetconv.lab.settings.comparison import OWN_WIDTH, WEIGHTS_FILE

DEBUG = "--debug"

TrainedWidth = Annotated[float | None, typer.Option("--width", help=f"{OWN_WIDTH}; the checkpoint's, or 1.")]
Weights = Annotated[Path | None, typer.Option(help=f"The trained network: {WEIGHTS_FILE}; random without.")]
TrainedWeights = Annotated[Path, typer.Option("--weights", help=f"The trained network: {WEIGHTS_FILE}.")]
InputSize = Annotated[
    str | None, typer.Option("--input", help="channels,height,width of an example; the checkpoint's or network's own.")
]
TrainedImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size", min=8, max=16384, help="Height and width of images, in pixels; the file's or network's own."
    ),
]
TrainedVariant = Annotated[
    str | None,
    typer.Option("--variant", help="Kind of layers: dense, het-p4, gwc4-pwc, …; the checkpoint's, or dense."),
]
Classes = Annotated[int, typer.Option(min=1, help="Classes of the network.")]
TrainedClasses = Annotated[
    int | None, typer.Option("--num-classes", min=1, help="Classes of the network; the checkpoint's, or 10.")
]
