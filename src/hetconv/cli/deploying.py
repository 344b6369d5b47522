"""The commands that bring a network to where it runs: deploy, export, quantize, bench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from hetconv.cli.made_options import with_options
from hetconv.cli.option_values import (
    check_example,
    console,
    example_of,
    say,
    set_threads,
    sizes_of,
    tell_if_random,
    thread_counts,
)
from hetconv.cli.options import InputSize, Weights
from hetconv.lab.settings import Bench, TrainedAs
from hetconv.lab.settings.comparison import DATA, DataName, ImageSize, NetworkName, RuntimeThreads, Threads, TimedBatch
from hetconv.lab.variant import DENSE

Runtime = Literal["onnxruntime", "openvino"]
PrecisionName = Literal["float32", "int8"]
CalibrationData = Annotated[str | None, typer.Option("--data", help=f"With int8: {DATA}")]
CalibrationImages = Annotated[int, typer.Option(min=1, help="Training images from which ranges are taken.")]


@with_options
def deploy(
    network: NetworkName,
    out: Annotated[Path, typer.Option(help="File to write; hetconv.load_deployed reads it.")],
    made: TrainedAs,
    weights: Weights = None,
    input_size: InputSize = None,
    batch_size: TimedBatch = 1,
    threads: Threads | None = None,
    precision: Annotated[PrecisionName, typer.Option(help="Number format of the deployed network.")] = "float32",
    data: CalibrationData = None,
    calibration_images: CalibrationImages = 256,
) -> None:
    """Make a network as fast as it gets on this CPU. Says what became of each convolution.

    In 8 bits, ranges come from the data's training images, and accuracy is shown on its held-out ones.
    """
    from hetconv.deployment import deploy as deploy_network
    from hetconv.files import check_output
    from hetconv.lab.named import trained_network

    check_output(out, *([] if weights is None else [weights]))
    set_threads(threads)
    model, own = trained_network(network, weights, made)
    size = own.input_size if input_size is None else sizes_of(input_size)
    if precision == "float32" and data is None:
        deployed = deploy_network(model, example_of(batch_size, size))
    else:
        calibration, test = calibration_of(data, calibration_images, size)
        deployed = deploy_network(model, example_of(batch_size, size), precision, calibration, test)
    deployed.class_names, deployed.image_size = own.class_names, size[-1]
    deployed.save(out)
    say(deployed.report)
    say(f"deployed: {out}")
    tell_if_random(network, weights)


def calibration_of(data: str | None, images: int, size: tuple[int, ...]) -> tuple[Any, Any]:
    """Training images as they are trained on, from which ranges are taken, and the loader of the held-out ones."""
    from hetconv.errors import UsageError
    from hetconv.lab.train import load_data

    if data is None:
        raise UsageError("--precision int8 takes its ranges from images; say which with --data")
    source = load_data(data, image_size=size[-1])
    count = min(images, source.train_images)
    calibration, _ = next(iter(source.train_loader(count)))
    return calibration, source.test_loader(256)


@with_options
def export(
    network: NetworkName,
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    made: TrainedAs,
    weights: Weights = None,
    form: Annotated[
        Literal["auto", "grouped", "sliced", "dense", "native"],
        typer.Option(
            help="How HetConv layers are written: auto takes the fastest; all but native are standard operators."
        ),
    ] = "auto",
    input_size: InputSize = None,
    batch_size: TimedBatch = 1,
    threads: RuntimeThreads = 1,
    runtime: Annotated[Runtime, typer.Option(help="Runtime in which forms are timed.")] = "onnxruntime",
    precision: Annotated[
        PrecisionName, typer.Option(help="int8: what deploy makes in 8 bits, as one native operator.")
    ] = "float32",
    data: CalibrationData = None,
    calibration_images: CalibrationImages = 256,
) -> None:
    """Write a network as ONNX. It is compared with the network before it is kept.

    8 bits by standard operators: give the file to `hetconv quantize`.
    """
    from hetconv.deployment import deploy as deploy_network
    from hetconv.errors import UsageError
    from hetconv.export import export_deployed, export_onnx
    from hetconv.files import check_output
    from hetconv.lab.named import trained_network

    check_output(out, *([] if weights is None else [weights]))
    model, own = trained_network(network, weights, made)
    size = own.input_size if input_size is None else sizes_of(input_size)
    example, names = example_of(batch_size, size), own.class_names
    if precision == "float32":
        if data is not None:
            raise UsageError("--data is for --precision int8; float32 needs no images")
        say(export_onnx(model, example, out, form, threads=threads, runtime=runtime, class_names=names))
    else:
        if form not in ("auto", "native") or runtime != "onnxruntime":
            raise UsageError(
                f"--precision int8 writes one native operator of ONNX Runtime, not --form {form} for {runtime}; "
                f"for 8 bits of standard operators give the float32 file to hetconv quantize"
            )
        deployed = deploy_network(
            model, example, precision, *calibration_of(data, calibration_images, size), timed=False
        )
        deployed.class_names = names
        say(export_deployed(deployed, example, out, threads=threads))
    tell_if_random(network, weights)


@with_options
def quantize(
    file: Annotated[Path, typer.Argument(help="ONNX file that hetconv export wrote.")],
    out: Annotated[Path, typer.Option(help="The file to write: .onnx for onnxruntime, .xml for openvino.")],
    data: DataName = "digits",
    backend: Annotated[Runtime, typer.Option(help="Whose tool is used.")] = "onnxruntime",
    calibration_images: CalibrationImages = 256,
    image_size: ImageSize = 224,
    threads: RuntimeThreads = 1,
) -> None:
    """Quantize an ONNX file to 8 bits. Shows its accuracy on held-out images before and after."""
    from hetconv.files import check_output
    from hetconv.lab.train import load_data
    from hetconv.quantize import quantize_onnx

    check_output(out, file)
    source = load_data(data, image_size=image_size)
    count = min(calibration_images, source.train_images)
    calibration, _ = next(iter(source.train_loader(count)))
    say(quantize_onnx(file, out, calibration, source.test_loader(64), backend=backend, threads=threads))


@with_options
def bench_command(
    bench: Bench,
    out: Annotated[Path, typer.Option(help="Folder for bench.json, bench.md and bench.png.")] = Path("runs/bench"),
    input_size: InputSize = None,
    threads: Annotated[
        str, typer.Option(help="Threads of every runtime; several, such as 1,all, are timed in turns.")
    ] = str(Bench.threads),
) -> None:
    """Time a network in every runtime that is installed. Dense and with HetConv layers, in turns."""
    from hetconv.files import check_output_folder, write_atomically
    from hetconv.lab.bench import bench_in_turns
    from hetconv.lab.models import input_size_of
    from hetconv.lab.report.bench import bench_table, draw_bench
    from hetconv.records import save_record

    size = input_size_of(bench.network) if input_size is None else sizes_of(input_size)
    check_example(bench.batch_size, size)
    variants = tuple(dict.fromkeys((DENSE.spec, *bench.variants)))
    progress = Console(stderr=True)
    settings = [replace(bench, variants=variants, input_size=size, threads=count) for count in thread_counts(threads)]
    stems = {one.threads: "bench" if len(settings) == 1 else f"bench-threads-{one.threads}" for one in settings}
    check_output_folder(out, *(f"{stem}.{kind}" for stem in stems.values() for kind in ("json", "md", "png")))
    found = bench_in_turns(settings, lambda text: progress.print(text, highlight=False, markup=False))
    for results in found:
        table = bench_table(results)
        console().print(table)
        stem = stems[results.circumstances.threads]
        save_record(results, out / f"{stem}.json")
        write_atomically(out / f"{stem}.md", table.markdown().encode())
        draw_bench(results, out / f"{stem}.png")
    say(f"table, picture and records: {out}")
