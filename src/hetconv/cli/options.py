"""Options that several commands have and no settings state, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hetconv.lab.settings.comparison import WEIGHTS_FILE

DEBUG = "--debug"

Weights = Annotated[Path | None, typer.Option(help=f"The trained network: {WEIGHTS_FILE}; random without.")]
TrainedWeights = Annotated[Path, typer.Option("--weights", help=f"The trained network: {WEIGHTS_FILE}.")]
InputSize = Annotated[
    str | None, typer.Option("--input", help="channels,height,width of an example; the checkpoint's or network's own.")
]
