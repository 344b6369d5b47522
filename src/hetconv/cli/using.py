"""The commands that use a trained network: evaluate and predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetconv.cli.made_options import with_options
from hetconv.cli.option_values import say, set_threads
from hetconv.lab.settings import Opening
from hetconv.lab.settings.comparison import DataName

if TYPE_CHECKING:
    from hetconv.lab.inference import Opened

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A deployed file, an ONNX file, a checkpoint, or a state dict.")
]


@with_options
def evaluate_command(file: File, opening: Opening, data: DataName = "digits") -> None:
    """Show the accuracy of a trained network on held-out images."""
    from hetconv.lab.inference import check_classes, evaluate
    from hetconv.lab.train import load_data

    opened = _opened(file, opening)
    held_out = load_data(data, image_size=opened.size(opening.image_size))
    check_classes(opened.class_names, held_out)
    say(evaluate(opened.network, held_out))


@with_options
def predict_command(
    file: File,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    opening: Opening,
    top: Annotated[int, typer.Option(min=1, help="How many classes are shown.")] = 5,
    names: Annotated[
        Path | None,
        typer.Option(
            "--class-names",
            help="A text file, one name a line; or a folder with a folder for each class. The network's own without.",
        ),
    ] = None,
) -> None:
    """Show what a trained network sees in image files. They are prepared as those of an image folder are."""
    from hetconv.lab.inference import class_names, predict

    opened = _opened(file, opening)
    given = opened.class_names if names is None else class_names(names.expanduser())
    for prediction in predict(opened.network, images, opened.size(opening.image_size), top, given):
        say(prediction)


def _opened(file: Path, opening: Opening) -> Opened:
    from hetconv.lab.inference import open_network

    set_threads(opening.threads)
    return open_network(file.expanduser(), opening.model, opening, opening.threads or 1)
