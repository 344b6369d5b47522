"""Options that several commands have, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hetconv.lab.results import LARGEST_SEED

DEBUG = "--debug"
MOST_THREADS = 1024

Model = Annotated[str, typer.Option("--model", help="A name (vgg16_cifar, resnet50, …) or module:function.")]
DataSet = Annotated[str, typer.Option("--data", help="digits, or cifar10:, imagefolder: or shards:<folder>.")]
Width = Annotated[float, typer.Option(help="Channels of the four own networks, times this.")]
ImageSize = Annotated[
    int, typer.Option(min=8, max=16384, help="Height and width of an image folder's images, in pixels.")
]
TrainLimit = Annotated[int | None, typer.Option(min=1, help="Train on only this many images of a fixed shuffle.")]
Epochs = Annotated[int, typer.Option(min=1)]
BatchSize = Annotated[int, typer.Option(min=1)]
LearningRate = Annotated[float, typer.Option("--lr", help="Learning rate at its highest.")]
Momentum = Annotated[float, typer.Option()]
WeightDecay = Annotated[float, typer.Option()]
Schedule = Annotated[str, typer.Option(help="cosine, step or constant.")]
StepEpochs = Annotated[str, typer.Option(help="With --schedule step: where the rate falls, such as 50,100.")]
StepFactor = Annotated[float, typer.Option(help="With --schedule step: times how much it falls.")]
Warmup = Annotated[float, typer.Option(help="Epochs of linear rise.")]
Smoothing = Annotated[float, typer.Option(help="Label smoothing.")]
Precision = Annotated[str, typer.Option(help="no, bf16 or fp16.")]
Threads = Annotated[int | None, typer.Option(min=1, max=MOST_THREADS, help="PyTorch's threads; all cores by default.")]
StageEpochs = Annotated[int | None, typer.Option(min=1, help="Of compressed variants; the paper's by default.")]
StageRate = Annotated[
    float | None, typer.Option(help="Of compressed variants, with --schedule; the paper's by default.")
]
Weights = Annotated[Path | None, typer.Option(help="A checkpoint of hetconv train; untrained without.")]
InputSize = Annotated[str | None, typer.Option("--input", help="channels,height,width of one example.")]
ModelName = Annotated[str, typer.Argument(help="A name (vgg16_cifar, resnet50, …) or module:function.")]
Variant = Annotated[str, typer.Option(help="Which layers: dense, het-p4, gwc4-pwc, …")]
Classes = Annotated[int, typer.Option(min=1)]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED)]
