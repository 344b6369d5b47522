"""Options that several commands have, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hetconv.lab.results import LARGEST_SEED

DEBUG = "--debug"
MOST_THREADS = 1024

NETWORKS = "vgg16_cifar, resnet20_cifar, …; torchvision's (resnet50, …), timm:NAME, or module:function."
DATA = "digits, or cifar10:, imagefolder: or shards:<folder>."

Model = Annotated[str, typer.Argument(help=NETWORKS)]
DataSet = Annotated[str, typer.Option("--data", help=DATA)]
_WIDTH = "Channels of the five own networks, times this"
Width = Annotated[float, typer.Option(help=f"{_WIDTH}.")]
TrainedWidth = Annotated[float | None, typer.Option("--width", help=f"{_WIDTH}; the checkpoint's, or 1.")]
ImageSize = Annotated[
    int, typer.Option(min=8, max=16384, help="Height and width of an image folder's images, in pixels.")
]
TrainLimit = Annotated[int | None, typer.Option(min=1, help="Train on only this many images of a fixed shuffle.")]
Epochs = Annotated[int, typer.Option(min=1)]
BatchSize = Annotated[int, typer.Option(min=1, help="Of the training.")]
TimedBatch = Annotated[int, typer.Option(min=1, help="Images in the batch that is timed.")]
LearningRate = Annotated[float, typer.Option("--lr", help="Learning rate at its highest.")]
Momentum = Annotated[float, typer.Option()]
WeightDecay = Annotated[float, typer.Option()]
Schedule = Annotated[Literal["cosine", "one-cycle", "step", "constant"], typer.Option(help="Of the learning rate.")]
StepEpochs = Annotated[str, typer.Option(help="With --schedule step: where the rate falls, such as 50,100.")]
StepFactor = Annotated[float, typer.Option(help="With --schedule step: times how much it falls.")]
Warmup = Annotated[float, typer.Option(help="Epochs of linear rise.")]
Smoothing = Annotated[float, typer.Option(help="Label smoothing.")]
MixedPrecision = Literal["no", "bf16", "fp16"]
Precision = Annotated[MixedPrecision, typer.Option(help="Of the training.")]
Threads = Annotated[int | None, typer.Option(min=1, max=MOST_THREADS, help="PyTorch's threads; all cores by default.")]
StageEpochs = Annotated[int | None, typer.Option(min=1, help="Of compressed variants; the paper's by default.")]
StageRate = Annotated[
    float | None, typer.Option(help="Of compressed variants, with --schedule; the paper's by default.")
]
_WEIGHTS = "a checkpoint of hetconv, or a state dict as safetensors"
Weights = Annotated[Path | None, typer.Option(help=f"The trained network: {_WEIGHTS}; random without.")]
StartingWeights = Annotated[Path | None, typer.Option("--weights", help=f"Train on from these: {_WEIGHTS}.")]
TrainedWeights = Annotated[Path, typer.Option("--weights", help=f"The trained network: {_WEIGHTS}.")]
InputSize = Annotated[
    str | None, typer.Option("--input", help="channels,height,width of an example; the checkpoint's or network's own.")
]
_VARIANT = "Which layers: dense, het-p4, gwc4-pwc, …"
Variant = Annotated[str, typer.Option(help=f"{_VARIANT}.")]
TrainedVariant = Annotated[str | None, typer.Option("--variant", help=f"{_VARIANT}; the checkpoint's, or dense.")]
Classes = Annotated[int, typer.Option(min=1)]
TrainedClasses = Annotated[int | None, typer.Option("--num-classes", min=1, help="The checkpoint's, or 10.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED)]
