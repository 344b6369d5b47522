"""The commands. Each parses its arguments, makes one call of the library, and prints what came back."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hetconv.cli.study import study_app
from hetconv.errors import HetconvError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="HetConv layers for PyTorch: compare, train, profile and check them.",
)  # fmt: skip

app.add_typer(study_app, name="study")

PIPE_WIDTH = 120
"""Columns of what is printed where there is no terminal."""

Model = Annotated[str, typer.Option("--model", help="A name (vgg16_cifar, resnet50, …) or module:function.")]
DataSet = Annotated[str, typer.Option("--data", help="digits, cifar10:<folder> or imagefolder:<folder>.")]
Width = Annotated[float, typer.Option(help="Channels of the four own networks, times this.")]
ImageSize = Annotated[int, typer.Option(min=8, help="Height and width of an image folder's images, in pixels.")]
TrainLimit = Annotated[int | None, typer.Option(min=1, help="Train on only this many images of a fixed shuffle.")]
Epochs = Annotated[int, typer.Option(min=1)]
BatchSize = Annotated[int, typer.Option(min=1)]
LearningRate = Annotated[float, typer.Option("--lr", help="Learning rate at its highest.")]
Momentum = Annotated[float, typer.Option()]
WeightDecay = Annotated[float, typer.Option()]
Schedule = Annotated[str, typer.Option(help="cosine, one-cycle, step or constant.")]
StepEpochs = Annotated[str, typer.Option(help="With --schedule step: where the rate falls, such as 50,100.")]
StepFactor = Annotated[float, typer.Option(help="With --schedule step: times how much it falls.")]
Warmup = Annotated[float, typer.Option(help="Epochs of linear rise.")]
Smoothing = Annotated[float, typer.Option(help="Label smoothing.")]
Precision = Annotated[str, typer.Option(help="no, bf16 or fp16.")]
Threads = Annotated[int | None, typer.Option(min=1, help="PyTorch's threads; all cores by default.")]
Weights = Annotated[Path | None, typer.Option(help="A checkpoint of hetconv train; untrained without.")]
InputSize = Annotated[str | None, typer.Option("--input", help="channels,height,width of one example.")]


@app.command()
def compare(
    out: Annotated[Path, typer.Option(help="Folder for the results; run again to go on.")] = Path("runs/compare"),
    model: Model = "resnet20_cifar",
    variants: Annotated[str, typer.Option(help="Comma-separated specs.")] = "dense,het-p4,het-p8,gwc4-pwc,dwc-pwc",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to train each variant from.")] = 1,
    data: DataSet = "digits",
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
    latency_batch: Annotated[int, typer.Option(min=1, help="Images in the batch that is timed.")] = 1,
    threads: Threads = None,
) -> None:
    """Train variants of one network on one data set; show accuracy, cost and measured time side by side."""
    from hetconv.study import Comparison
    from hetconv.train import Recipe

    recipe = Recipe(
        epochs, batch_size, lr, momentum, weight_decay, schedule, _numbers("step-epochs", step_epochs), step_factor,
        warmup_epochs, label_smoothing, mixed_precision,
    )  # fmt: skip
    specs = tuple(variants.split(","))
    comparison = Comparison(
        model, specs, tuple(range(seeds)), data, recipe, width, image_size, train_limit, latency_batch
    )
    _compare(comparison, out, threads)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and results; run again to go on.")],
    variant: Annotated[str, typer.Option(help="Which layers: dense, het-p4, gwc4-pwc, …")] = "het-p4",
    model: Model = "resnet20_cifar",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data: DataSet = "digits",
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
    from hetconv.study import Comparison, Store
    from hetconv.train import Recipe

    recipe = Recipe(
        epochs, batch_size, lr, momentum, weight_decay, schedule, _numbers("step-epochs", step_epochs), step_factor,
        warmup_epochs, label_smoothing, mixed_precision,
    )  # fmt: skip
    _compare(Comparison(model, (variant,), (seed,), data, recipe, width, image_size, train_limit), out, threads)
    typer.echo(f"weights: {Store(out).checkpoint(variant, seed)}")


@app.command()
def profile(
    model: Annotated[str, typer.Argument(help="A name (vgg16_cifar, resnet50, …) or module:function.")],
    variant: Annotated[str, typer.Option(help="Which layers: dense, het-p4, gwc4-pwc, …")] = "dense",
    input_size: InputSize = None,
    num_classes: Annotated[int, typer.Option(min=1)] = 10,
    width: Width = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in the batch that is timed.")] = 1,
    threads: Threads = None,
) -> None:
    """Show what each layer of a network costs: multiply-adds, parameters, milliseconds."""
    from hetconv.models import create_model, input_size_of
    from hetconv.report import print_layers
    from hetconv.study.costing import measure_costs

    size = input_size_of(model) if input_size is None else _input_size(input_size)
    _set_threads(threads)
    network = create_model(model, variant, num_classes, width=width)
    dense = create_model(model, "dense", num_classes, width=width)
    circumstances, (cost,) = measure_costs({variant: network}, dense, size, batch_size=batch_size)
    print_layers(cost.complexity, _console(), circumstances)


@app.command()
def deploy(
    model: Annotated[str, typer.Argument(help="A name (vgg16_cifar, resnet50, …) or module:function.")],
    out: Annotated[Path, typer.Option(help="File to write; hetconv.load_deployed reads it.")],
    variant: Annotated[str, typer.Option(help="Which layers: dense, het-p4, gwc4-pwc, …")] = "dense",
    weights: Weights = None,
    input_size: InputSize = None,
    num_classes: Annotated[int, typer.Option(min=1)] = 10,
    width: Width = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in the batch that it is measured on.")] = 1,
    threads: Threads = None,
) -> None:
    """Make a network into the fastest module for inference on this CPU, and say what became of each convolution."""
    from hetconv.deployment import deploy as deploy_network

    _set_threads(threads)
    network, size = _network(model, variant, num_classes, width, weights, input_size)
    deployed = deploy_network(network, _example(batch_size, size))
    deployed.save(out)
    typer.echo(str(deployed.report))
    typer.echo(f"deployed: {out}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A name (vgg16_cifar, resnet50, …) or module:function.")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    variant: Annotated[str, typer.Option(help="Which layers: dense, het-p4, gwc4-pwc, …")] = "het-p4",
    weights: Weights = None,
    form: Annotated[str, typer.Option(help="auto (the fastest, timed), grouped, sliced or dense.")] = "auto",
    input_size: InputSize = None,
    num_classes: Annotated[int, typer.Option(min=1)] = 10,
    width: Width = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in the batch that forms are timed with.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="ONNX Runtime's threads while forms are timed.")] = 1,
) -> None:
    """Write a network as ONNX with standard operators, compared with the network before it is kept."""
    from hetconv.export import export_onnx

    network, size = _network(model, variant, num_classes, width, weights, input_size)
    typer.echo(export_onnx(network, _example(batch_size, size), out, form, threads=threads))


@app.command()
def quantize(
    file: Annotated[Path, typer.Argument(help="What hetconv export wrote.")],
    out: Annotated[Path, typer.Option(help="The file to write: .onnx for onnxruntime, .xml for openvino.")],
    data: DataSet = "digits",
    backend: Annotated[str, typer.Option(help="onnxruntime or openvino.")] = "onnxruntime",
    calibration_images: Annotated[int, typer.Option(min=1, help="Training images that ranges are taken from.")] = 256,
    image_size: ImageSize = 224,
    threads: Annotated[int, typer.Option(min=1, help="With which both are timed.")] = 1,
) -> None:
    """Quantize an ONNX file to 8 bits, and show its accuracy on held-out images before and after."""
    from hetconv.quantize import quantize_onnx
    from hetconv.train import load_data

    source = load_data(data, image_size=image_size)
    count = min(calibration_images, source.train_images)
    calibration, _ = next(iter(source.train_loader(count)))
    typer.echo(quantize_onnx(file, out, calibration, source.test_loader(64), backend=backend, threads=threads))


@app.command("bench")
def bench_command(
    model: Annotated[str, typer.Argument(help="A name (vgg16_cifar, resnet50, …) or module:function.")],
    out: Annotated[Path, typer.Option(help="Folder for bench.json, bench.md and bench.png.")] = Path("runs/bench"),
    variants: Annotated[str, typer.Option("--variant", help="Comma-separated specs, beside dense.")] = "het-p4",
    runtimes: Annotated[str, typer.Option(help="Comma-separated; all that are known by default.")] = "",
    input_size: InputSize = None,
    num_classes: Annotated[int, typer.Option(min=1)] = 10,
    width: Width = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in the batch that is timed.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of every runtime.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Timed turns.")] = 20,
) -> None:
    """Time a network, dense and with HetConv layers, in every runtime that is installed, in turns."""
    from hetconv.bench import RUNNERS, Bench, bench
    from hetconv.files import write_atomically
    from hetconv.models import input_size_of
    from hetconv.records import save_record
    from hetconv.report.bench import bench_markdown, print_bench
    from hetconv.report.runtimes import draw_bench

    size = input_size_of(model) if input_size is None else _input_size(input_size)
    names = tuple(dict.fromkeys(["dense", *variants.split(",")]))
    chosen = tuple(runtimes.split(",")) if runtimes else RUNNERS
    console = Console(stderr=True)
    settings = Bench(model, names, size, num_classes, width, batch_size, threads, rounds, chosen)
    results = bench(settings, lambda text: console.print(text, highlight=False, markup=False))
    save_record(results, out / "bench.json")
    write_atomically(out / "bench.md", bench_markdown(results).encode())
    print_bench(results, _console())
    draw_bench(results, out / "bench.png")
    typer.echo(f"table, picture and records: {out}")


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="vgg16-cifar10.")],
    results: Annotated[Path | None, typer.Option(help="Folder of a comparison, to show what it measured.")] = None,
) -> None:
    """Show a published table beside what is computed here and what a comparison has measured here."""
    from hetconv.cli.published_table import print_published
    from hetconv.published import published_table
    from hetconv.study import Store

    print_published(published_table(name), None if results is None else Store(results).load_results(), _console())


@app.command()
def check() -> None:
    """Check the layer against its definition on this machine: output and gradients, over many shapes."""
    from hetconv.ops.check import check as run_check

    rows = list(run_check())
    failed = [row for row in rows if not row.passed]
    for row in failed:
        typer.echo(
            f"wrong: {row.case} on {row.backend}: {row.tensor} is off by {row.error:.3g}, allowed {row.budget:.3g}"
        )
    backends = ", ".join(sorted({row.backend for row in rows}))
    typer.echo(f"{len(rows)} tensors checked on {backends}, {len(failed)} outside their error budget")
    if failed:
        raise HetconvError("the layer computes wrong values on this machine; please report the lines above")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a comparison.")]) -> None:
    """Show a comparison's results again, and write its report.html anew."""
    from hetconv.report import print_results, write_report
    from hetconv.study import Store

    store = Store(folder)
    results = store.load_results()
    print_results(results, _console())
    write_report(results, store.report)
    typer.echo(f"report: {store.report}")


def _network(
    model: str, variant: str, num_classes: int, width: float, weights: Path | None, input_size: str | None
) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network that the options name, in evaluation mode, and the size of its input."""
    from hetconv.models import create_model, input_size_of
    from hetconv.train.checkpoint import load_weights

    size = input_size_of(model) if input_size is None else _input_size(input_size)
    network = create_model(model, variant, num_classes, width=width).eval()
    if weights is not None:
        load_weights(weights, network)
    return network, size


def _example(batch_size: int, size: tuple[int, int, int]) -> Tensor:
    import torch

    return torch.randn(batch_size, *size, generator=torch.Generator().manual_seed(0))


def _compare(comparison: object, out: Path, threads: int | None) -> None:
    from hetconv.cli.progress import TerminalProgress
    from hetconv.report import print_results, write_report
    from hetconv.study import Comparison, Store, compare

    assert isinstance(comparison, Comparison)
    runs = len(comparison.variants) * len(comparison.seeds)
    with TerminalProgress(Console(stderr=True), runs, comparison.recipe.epochs) as progress:
        results = compare(comparison, out, progress, threads=threads)
    print_results(results, _console())
    write_report(results, Store(out).report, _command_line())
    typer.echo(f"report: {Store(out).report}")
    failed = [f"{run.variant} seed {run.seed}" for run in results.runs if run.state == "failed"]
    if failed:
        raise HetconvError(f"{len(failed)} of {len(results.runs)} runs failed: {', '.join(failed)}; reasons are above")


def _console() -> Console:
    """Standard output; wide enough for whole rows where it goes into a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _command_line() -> str:
    return shlex.join(["hetconv", *sys.argv[1:]])


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise UsageError(f"--{option} {text!r} must be whole numbers separated by commas") from error


def _input_size(text: str) -> tuple[int, int, int]:
    sizes = _numbers("input", text)
    if len(sizes) != 3 or min(sizes) < 1:
        raise UsageError(f"--input {text!r} must be channels,height,width, such as 3,32,32")
    return sizes[0], sizes[1], sizes[2]
