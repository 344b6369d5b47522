"""The command that makes a trained network faster within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from hetconv.cli.arguments import numbers, say, set_threads
from hetconv.cli.made_options import with_options
from hetconv.cli.options import TrainedClasses, TrainedWeights, TrainedWidth
from hetconv.lab.settings.comparison import DataName, ImageSize, NetworkName, Seed, Threads, TimedBatch, TrainLimit
from hetconv.lab.settings.recipe import MixedPrecision
from hetconv.plain_text import visible


@with_options
def adapt(
    network: NetworkName,
    weights: TrainedWeights,
    out: Annotated[Path, typer.Option(help="Folder for all results; run again to go on.")],
    data: DataName = "digits",
    speedup: Annotated[float | None, typer.Option(help="How many times faster, deployed on this machine.")] = None,
    budget_ms: Annotated[float | None, typer.Option(help="Or the milliseconds it may take.")] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Of distillation; 0 for none, which needs no training.")] = 10,
    images: Annotated[int, typer.Option(min=2, help="Training images that least squares looks at.")] = 2000,
    parts: Annotated[str, typer.Option("--p", help="Values of P to choose from.")] = "1,2,4,8,16,32",
    lr: Annotated[
        float | None, typer.Option(help="Of the distillation, at its highest; half of the network's own without.")
    ] = None,
    train_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Of the distillation; the network's own without.")
    ] = None,
    mixed_precision: MixedPrecision | None = None,
    precision: Annotated[
        Literal["float32", "int8"], typer.Option(help="Of both networks that are timed, and of the deployed file.")
    ] = "float32",
    batch_size: TimedBatch = 1,
    seed: Seed = 0,
    num_classes: TrainedClasses = None,
    width: TrainedWidth = None,
    image_size: ImageSize = 224,
    train_limit: TrainLimit | None = None,
    threads: Threads | None = None,
) -> None:
    """Make a trained network faster within a measured budget: choose P for each layer, refit, distill, deploy."""
    from dataclasses import replace

    from hetconv.cli.progress import TerminalProgress
    from hetconv.files import check_output_folder
    from hetconv.lab.adapting.course import DEPLOYED, REPORT, Adaptation, tuning_of
    from hetconv.lab.adapting.course import adapt as adapt_network
    from hetconv.lab.named import trained_network
    from hetconv.lab.train import load_data

    check_output_folder(out, DEPLOYED, REPORT)
    set_threads(threads)
    model, _ = trained_network(network, weights, "dense", num_classes, width)
    given = {"learning_rate": lr, "batch_size": train_batch_size, "mixed_precision": mixed_precision}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    tuning = replace(tuning_of(weights, epochs), **changes) if epochs else None
    wanted = Adaptation(
        network, speedup, budget_ms, tuning, images=images, plan_images=min(images, 500), batch_size=batch_size,
        parts=numbers("p", parts), seed=seed, target="int8" if precision == "int8" else "deploy",
    )  # fmt: skip
    console = Console(stderr=True)

    def tell(text: str) -> None:
        console.print(visible(text), highlight=False, markup=False)

    source = load_data(data, image_size=image_size, train_limit=train_limit)
    with TerminalProgress(console, 1, epochs) as progress:
        progress.name = "distillation"
        found = adapt_network(model, source, wanted, out, progress=progress, told=tell)
    first, last = found.steps[0], found.steps[-1]
    assert found.original_ms is not None
    assert found.adapted_ms is not None
    say(
        f"accuracy {first.accuracy:.2%} → {last.accuracy:.2%}, {found.original_ms:.3f} → {found.adapted_ms:.3f} ms "
        f"({found.original_ms / found.adapted_ms:.2f} times as fast)"
    )
    say(f"deployed: {out / DEPLOYED}; page: {out / REPORT}")
