"""A network by its name, with the weights of a file."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from hetconv.lab.models import create_model, input_size_of
from hetconv.lab.settings import TrainedAs
from hetconv.lab.trained import Trained
from hetconv.weights_file import load_weights

DEFAULT_CLASSES = 10
OWN = TrainedAs()
"""Built as the file says."""


def trained_network(model: str, weights: Path | None, made: TrainedAs = OWN) -> tuple[nn.Module, Trained]:
    """A named network with the weights of a file, in evaluation mode, and what the file says of it.

    What is None in `made` is as the file says, where it is a checkpoint of a network of this name; else it is dense,
    with 10 classes and width 1.

    Raises:
        UsageError: a name is unknown, or the weights are another network's.
    """
    own = None if weights is None else Trained.of(weights)
    if own is None or own.network != model:
        own = Trained(model, 1.0, "dense", DEFAULT_CLASSES, input_size_of(model))
    network = create_model(
        model,
        own.variant if made.variant is None else made.variant,
        own.num_classes if made.num_classes is None else made.num_classes,
        width=own.width if made.width is None else made.width,
    ).eval()
    if weights is not None:
        load_weights(weights, network)
    return network, own
