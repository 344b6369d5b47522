"""The command that makes a trained network faster within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hetconv.cli.made_options import with_options
from hetconv.cli.option_values import say, set_threads
from hetconv.cli.options import TrainedWeights
from hetconv.lab.settings import Adaptation, Budget, TrainedAs, TrainedSize, Tuning
from hetconv.lab.settings.comparison import DataName, NetworkName, Threads, TrainLimit, shared
from hetconv.lab.settings.trained import TrainedImageSize
from hetconv.lab.variant import DENSE
from hetconv.plain_text import visible


@with_options
def adapt(
    network: NetworkName,
    weights: TrainedWeights,
    out: Annotated[Path, typer.Option(help="Folder for all results; run again to go on.")],
    budget: Budget,
    tuning: Tuning,
    size: TrainedSize,
    data: DataName = "digits",
    image_size: TrainedImageSize | None = None,
    train_limit: TrainLimit | None = None,
    threads: Threads | None = None,
) -> None:
    """Make a trained network faster within a measured budget. Chooses P for each layer, refits, distils, deploys."""
    from hetconv.cli.progress import TerminalProgress
    from hetconv.files import check_output_folder
    from hetconv.lab.adapting.course import DEPLOYED, REPORT, recipe_of
    from hetconv.lab.adapting.course import adapt as adapt_network
    from hetconv.lab.inference import check_classes
    from hetconv.lab.named import trained_network
    from hetconv.lab.train import load_data

    check_output_folder(out, DEPLOYED, REPORT)
    set_threads(threads)
    model, own = trained_network(network, weights, TrainedAs(variant=DENSE, **shared(size, TrainedSize)))
    wanted = Adaptation(name=network, recipe=recipe_of(weights, tuning), **shared(budget, Budget))
    console = Console(stderr=True)

    def tell(text: str) -> None:
        console.print(visible(text), highlight=False, markup=False)

    pixels = own.input_size[-1] if image_size is None else image_size
    source = load_data(data, image_size=pixels, train_limit=train_limit)
    check_classes(own.class_names, source)
    with TerminalProgress(console, 1, tuning.epochs) as progress:
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
