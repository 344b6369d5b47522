"""The commands. Each parses its arguments, makes one call of the library, and prints what came back."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hetconv.cli import adapting, deploying, sharding, using
from hetconv.cli.launched import followed
from hetconv.cli.made_options import with_options
from hetconv.cli.option_values import check_example, console, say, set_threads, sizes_of
from hetconv.cli.options import DEBUG, InputSize
from hetconv.cli.sensitivity import sensitivity_command
from hetconv.cli.study import study_app
from hetconv.errors import HetconvError, UsageError
from hetconv.lab.settings import Comparison, SingleRun
from hetconv.lab.settings.comparison import Classes, LayerKind, NetworkName, Threads, TimedBatch, Width
from hetconv.lab.variant import DENSE
from hetconv.version import VERSION

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
@with_options
def compare(
    comparison: Comparison,
    out: Annotated[Path, typer.Option(help="Folder for the results; run again to go on.")] = Path("runs/compare"),
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How many seeds to train each variant from.")] = 1,
    threads: Threads | None = None,
) -> None:
    """Train variants of one network and compare them. Shows accuracy, cost and measured time side by side."""
    _compare(replace(comparison, seeds=tuple(range(seeds))), out, threads)


@app.command()
@with_options
def train(
    run: SingleRun,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and results; run again to go on.")],
    threads: Threads | None = None,
) -> None:
    """Train one variant of one network. Its weights stay in the folder's checkpoint."""
    from hetconv.lab.study import Store

    _compare(run.comparison(), out, threads, weights=True)
    kept = Store(out).run(run.variant.spec, run.seed)
    say(f"weights: {kept.checkpoint if run.variant.method is None else kept.path}")


@app.command()
@with_options
def profile(
    network: NetworkName,
    variant: LayerKind = DENSE,
    input_size: InputSize = None,
    num_classes: Classes = 10,
    width: Width = 1.0,
    batch_size: TimedBatch = 1,
    threads: Threads | None = None,
) -> None:
    """Show what each layer of a network costs. Multiply-adds, parameters, milliseconds."""
    from hetconv.lab.models import create_model, input_size_of
    from hetconv.lab.report import print_layers
    from hetconv.lab.study.costs import measure_costs

    size = input_size_of(network) if input_size is None else sizes_of(input_size)
    check_example(batch_size, size)
    set_threads(threads)
    model = create_model(network, variant, num_classes, width=width)
    dense = create_model(network, DENSE, num_classes, width=width)
    circumstances, (cost,) = measure_costs({variant.spec: model}, dense, size, batch_size=batch_size)
    print_layers(cost.complexity, console(), circumstances)


for _command in (adapting.adapt, deploying.deploy, deploying.export, deploying.quantize, sharding.shards):
    app.command()(_command)
app.command("evaluate")(using.evaluate_command)
app.command("predict")(using.predict_command)
app.command("bench")(deploying.bench_command)
app.command("sensitivity")(sensitivity_command)


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="vgg16-cifar10.")],
    results: Annotated[Path | None, typer.Option(help="Folder of a comparison, to show what it measured.")] = None,
) -> None:
    """Show a published table beside what is computed here. With --results, beside what a comparison has measured."""
    from hetconv.cli.published_table import print_published
    from hetconv.lab.published import published_table
    from hetconv.lab.study import Store

    print_published(published_table(name), None if results is None else Store(results).load_results(), console())


@app.command()
def check() -> None:
    """Check the layer against its definition on this machine. Output and gradients, over many shapes."""
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
    """Show a comparison's results again. Also writes its report.html anew."""
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
