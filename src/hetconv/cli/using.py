"""The commands that use a trained network: evaluate and predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetconv.cli.made_options import with_options
from hetconv.cli.option_values import say, set_threads
from hetconv.cli.options import TrainedClasses, TrainedVariant, TrainedWidth
from hetconv.lab.settings.comparison import NETWORKS, DataName, ImageSize, Threads

if TYPE_CHECKING:
    from hetconv.lab.inference import Opened

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A deployed file, an ONNX file, a checkpoint, or a state dict.")
]
NetworkName = Annotated[str | None, typer.Option("--model", help=f"Of a state dict: {NETWORKS}")]


@with_options
def evaluate_command(
    file: File,
    data: DataName = "digits",
    image_size: ImageSize = 224,
    model: NetworkName = None,
    variant: TrainedVariant = None,
    num_classes: TrainedClasses = None,
    width: TrainedWidth = None,
    threads: Threads | None = None,
) -> None:
    """Show the accuracy of a trained network on the held-out images of a data set."""
    from hetconv.lab.inference import evaluate
    from hetconv.lab.train import load_data

    opened = _opened(file, model, variant, num_classes, width, threads)
    say(evaluate(opened.network, load_data(data, image_size=image_size)))


@with_options
def predict_command(
    file: File,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes are shown.")] = 5,
    names: Annotated[
        Path | None,
        typer.Option(
            "--class-names",
            help="A text file, one name a line; or a folder with a folder for each class. The network's own without.",
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, max=16384, help="Height and width, in pixels; the file's own, or 224.")
    ] = None,
    model: NetworkName = None,
    variant: TrainedVariant = None,
    num_classes: TrainedClasses = None,
    width: TrainedWidth = None,
    threads: Threads | None = None,
) -> None:
    """Show what a trained network sees in image files, prepared as those of an image folder are."""
    from hetconv.lab.inference import IMAGE_SIZE, class_names, predict

    opened = _opened(file, model, variant, num_classes, width, threads)
    given = opened.class_names if names is None else class_names(names.expanduser())
    size = opened.image_size if image_size is None else image_size
    for prediction in predict(opened.network, images, IMAGE_SIZE if size is None else size, top, given):
        say(prediction)


def _opened(
    file: Path,
    model: str | None,
    variant: str | None,
    num_classes: int | None,
    width: float | None,
    threads: int | None,
) -> Opened:
    from hetconv.lab.inference import open_network

    set_threads(threads)
    return open_network(
        file.expanduser(), model, variant=variant, num_classes=num_classes, width=width, threads=threads or 1
    )
