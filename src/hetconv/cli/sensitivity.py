"""The command that shows how a network bears changes of one layer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hetconv.cli.arguments import console, fractions, numbers, say, set_threads
from hetconv.cli.options import (
    BatchSize,
    DataSet,
    Epochs,
    ImageSize,
    LearningRate,
    Model,
    Seed,
    Threads,
    TrainLimit,
    Variant,
    Width,
)
from hetconv.plain_text import visible


def sensitivity_command(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, the record and pictures.")] = Path(
        "runs/sensitivity"
    ),
    weights: Annotated[
        Path | None, typer.Option(help="A checkpoint of hetconv, or a state dict as safetensors; trained here without.")
    ] = None,
    variant: Variant = "dense",
    data: DataSet = "digits",
    parts: Annotated[str, typer.Option("--p", help="Values of P, such as 2,4,8; none for no P.")] = "",
    shares: Annotated[str, typer.Option(help="Shares of filters removed, such as 0.25,0.5; none for none.")] = "",
    layers: Annotated[str, typer.Option(help="Names of convolutions, comma-separated; all K×K ones without.")] = "",
    validation_images: Annotated[
        int | None, typer.Option(min=1, help="Training images that accuracy is taken on; a fifth of them without.")
    ] = None,
    width: Width = 1.0,
    image_size: ImageSize = 224,
    train_limit: TrainLimit = None,
    epochs: Epochs = 10,
    batch_size: BatchSize = 64,
    lr: LearningRate = 0.1,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Show accuracy against P and against removed filters, layer by layer, without retraining, as table and curves."""
    from hetconv.cli.progress import TerminalProgress
    from hetconv.files import check_output_folder
    from hetconv.lab.report.figures import save_picture
    from hetconv.lab.report.sensitivity import sensitivity_charts, sensitivity_table
    from hetconv.lab.results import Probe
    from hetconv.lab.study.probing import Probing, probe
    from hetconv.lab.train import Recipe

    check_output_folder(out, "sensitivity.json")
    set_threads(threads)
    told = Console(stderr=True)
    probing = Probing(
        model, variant, data, Recipe(epochs, batch_size, lr), weights,
        None if not parts else () if parts == "none" else numbers("p", parts),
        None if not shares else () if shares == "none" else fractions("shares", shares),
        tuple(layers.split(",")) if layers else None, width, image_size, train_limit, validation_images, seed,
    )  # fmt: skip

    def tell(found: Probe) -> None:
        told.print(
            visible(f"{found.layer}, {found.kind} {found.value:g}: {found.accuracy:.2%}"), highlight=False, markup=False
        )

    with TerminalProgress(told, 1, epochs) as progress:
        results = probe(probing, out, progress, tell)
    console().print(sensitivity_table(results))
    for chart in sensitivity_charts(results):
        save_picture(chart, out / f"{chart.name}.png")
    say(f"record and pictures: {out}")
