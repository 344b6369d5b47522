"""The commands. Each parses its arguments, makes one call of the library, and prints what came back."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hetconv.cli import adapting, deploying, sharding, using
from hetconv.cli.arguments import check_example, console, numbers, say, set_threads, sizes_of
from hetconv.cli.launched import followed
from hetconv.cli.options import (
    DEBUG,
    BatchSize,
    Classes,
    DataSet,
    Epochs,
    ImageSize,
    InputSize,
    LearningRate,
    Model,
    Momentum,
    Precision,
    Schedule,
    Seed,
    Smoothing,
    StageEpochs,
    StageRate,
    StartingWeights,
    StepEpochs,
    StepFactor,
    Threads,
    TimedBatch,
    TrainLimit,
    Variant,
    Warmup,
    WeightDecay,
    Width,
)
from hetconv.cli.sensitivity import sensitivity_command
from hetconv.cli.study import study_app
from hetconv.errors import HetconvError, UsageError
from hetconv.version import VERSION

if TYPE_CHECKING:
    from hetconv.lab.study import Comparison

app = typer.Typer(
    add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="HetConv layers for PyTorch: compare, train, profile and check them.",
)  # fmt: skip

app.add_typer(study_app, name="study")


@app.callback(invoke_without_command=True)
def whole(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="With any command: show tracebacks of what goes wrong.")] = False,
) -> None:
    if version:
        say(f"hetconv {VERSION}")
    elif context.invoked_subcommand is None:
        raise UsageError("no command is given (hetconv --help)")


@app.command()
def compare(
    model: Model = "resnet20_cifar",
    out: Annotated[Path, typer.Option(help="Folder for the results; run again to go on.")] = Path("runs/compare"),
    variants: Annotated[str, typer.Option(help="Comma-separated specs.")] = "dense,het-p4,het-p8,gwc4-pwc,dwc-pwc",
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How many seeds to train each variant from.")] = 1,
    data: DataSet = "digits",
    weights: StartingWeights = None,
    width: Width = 1.0,
    image_size: ImageSize = 224,
    train_limit: TrainLimit = None,
    epochs: Epochs = 10,
    batch_size: BatchSize = 64,
    lr: LearningRate = 0.1,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = 5e-4,
    schedule: Schedule = "cosine",
    step_epochs: StepEpochs = "",
    step_factor: StepFactor = 0.1,
    warmup_epochs: Warmup = 1.0,
    label_smoothing: Smoothing = 0.0,
    mixed_precision: Precision = "no",
    latency_batch: TimedBatch = 1,
    retrain_epochs: StageEpochs = None,
    retrain_lr: StageRate = None,
    prepare_epochs: StageEpochs = None,
    prepare_lr: StageRate = None,
    threads: Threads = None,
) -> None:
    """Train variants of one network on one data set; show accuracy, cost and measured time side by side."""
    from hetconv.lab.compress import StageSettings
    from hetconv.lab.study import Comparison
    from hetconv.lab.train import Recipe

    recipe = Recipe(
        epochs, batch_size, lr, momentum, weight_decay, schedule, numbers("step-epochs", step_epochs), step_factor,
        warmup_epochs, label_smoothing, mixed_precision,
    )  # fmt: skip
    stages = StageSettings(retrain_epochs, retrain_lr, prepare_epochs, prepare_lr)
    specs = tuple(variants.split(","))
    comparison = Comparison(
        model, specs, tuple(range(seeds)), data, recipe, width, image_size, train_limit,
        latency_batch, stages=stages, weights=_text(weights),
    )  # fmt: skip
    _compare(comparison, out, threads)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and results; run again to go on.")],
    model: Model = "resnet20_cifar",
    variant: Variant = "dense",
    seed: Seed = 0,
    data: DataSet = "digits",
    weights: StartingWeights = None,
    width: Width = 1.0,
    image_size: ImageSize = 224,
    train_limit: TrainLimit = None,
    epochs: Epochs = 10,
    batch_size: BatchSize = 64,
    lr: LearningRate = 0.1,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = 5e-4,
    schedule: Schedule = "cosine",
    step_epochs: StepEpochs = "",
    step_factor: StepFactor = 0.1,
    warmup_epochs: Warmup = 1.0,
    label_smoothing: Smoothing = 0.0,
    mixed_precision: Precision = "no",
    threads: Threads = None,
) -> None:
    """Train one variant of one network; its weights stay in the folder's checkpoint."""
    from hetconv.lab.study import Comparison, Store
    from hetconv.lab.train import Recipe

    recipe = Recipe(
        epochs, batch_size, lr, momentum, weight_decay, schedule, numbers("step-epochs", step_epochs), step_factor,
        warmup_epochs, label_smoothing, mixed_precision,
    )  # fmt: skip
    comparison = Comparison(
        model, (variant,), (seed,), data, recipe, width, image_size, train_limit,
        weights=_text(weights),
    )  # fmt: skip
    _compare(comparison, out, threads, weights=True)
    run = Store(out).run(variant, seed)
    say(f"weights: {run.path if comparison.compressed else run.checkpoint}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@app.command()
def profile(
    model: Model,
    variant: Variant = "dense",
    input_size: InputSize = None,
    num_classes: Classes = 10,
    width: Width = 1.0,
    batch_size: TimedBatch = 1,
    threads: Threads = None,
) -> None:
    """Show what each layer of a network costs: multiply-adds, parameters, milliseconds."""
    from hetconv.lab.models import create_model, input_size_of
    from hetconv.lab.report import print_layers
    from hetconv.lab.study.costs import measure_costs

    size = input_size_of(model) if input_size is None else sizes_of(input_size)
    check_example(batch_size, size)
    set_threads(threads)
    network = create_model(model, variant, num_classes, width=width)
    dense = create_model(model, "dense", num_classes, width=width)
    circumstances, (cost,) = measure_costs({variant: network}, dense, size, batch_size=batch_size)
    print_layers(cost.complexity, console(), circumstances)


for _command in (adapting.adapt, deploying.deploy, deploying.export, deploying.quantize):
    app.command()(_command)
app.command("evaluate")(using.evaluate_command)
app.command("predict")(using.predict_command)
app.command("bench")(deploying.bench_command)
app.command("sensitivity")(sensitivity_command)
app.command()(sharding.shards)


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="vgg16-cifar10.")],
    results: Annotated[Path | None, typer.Option(help="Folder of a comparison, to show what it measured.")] = None,
) -> None:
    """Show a published table beside what is computed here and what a comparison has measured here."""
    from hetconv.cli.published_table import print_published
    from hetconv.lab.published import published_table
    from hetconv.lab.study import Store

    print_published(published_table(name), None if results is None else Store(results).load_results(), console())


@app.command()
def check() -> None:
    """Check the layer against its definition on this machine: output and gradients, over many shapes."""
    from hetconv.ops.check import check as run_check

    rows = list(run_check())
    failed = [row for row in rows if not row.passed]
    for row in failed:
        say(f"wrong: {row.case} on {row.backend}: {row.tensor} is off by {row.error:.3g}, allowed {row.budget:.3g}")
    backends = ", ".join(sorted({row.backend for row in rows}))
    say(f"{len(rows)} tensors checked on {backends}, {len(failed)} outside their error budget")
    if failed:
        raise HetconvError("the layer computes wrong values on this machine; please report the lines above")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a comparison.")]) -> None:
    """Show a comparison's results again, and write its report.html anew."""
    from hetconv.lab.report import print_results, write_report
    from hetconv.lab.study import Store

    store = Store(folder)
    results = store.load_results()
    write_report(results, store.report)
    say(f"report: {store.report}")
    print_results(results, console())


def _compare(comparison: Comparison, out: Path, threads: int | None, weights: bool = False) -> None:
    """Write the page, and then print: what is printed may find nobody who reads it."""
    from hetconv.cli.progress import TerminalProgress
    from hetconv.lab.report import print_results, write_report
    from hetconv.lab.study import Store, compare

    if followed():
        return
    runs = len(comparison.variants) * len(comparison.seeds)
    with TerminalProgress(Console(stderr=True), runs, comparison.recipe.epochs) as progress:
        results = compare(comparison, out, progress, threads=threads, weights=weights)
    write_report(results, Store(out).report, _command_line())
    print_results(results, console())
    say(f"report: {Store(out).report}")
    failed = [f"{run.variant} seed {run.seed}" for run in results.runs if run.state == "failed"]
    if failed:
        raise HetconvError(f"{len(failed)} of {len(results.runs)} runs failed: {', '.join(failed)}; reasons are above")


def _command_line() -> str:
    return shlex.join(["hetconv", *sys.argv[1:]])
