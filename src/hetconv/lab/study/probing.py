"""The sensitivity of a named network: trained here, or read from a checkpoint; the test split is not looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hetconv.cost.circumstances import circumstances
from hetconv.errors import UsageError
from hetconv.lab.compress import plan_probes, sensitivity
from hetconv.lab.compress.sensitivity import keep_silent
from hetconv.lab.models import create_model
from hetconv.lab.results import Probe, SensitivityResults
from hetconv.lab.study.comparison import Comparison
from hetconv.lab.train import Data, Progress, Recipe, load_data, train
from hetconv.lab.train.checkpoint import read_header
from hetconv.lab.train.data import limited
from hetconv.records import save_record
from hetconv.weights import load_weights

VALIDATION_SHARE = 5
"""By default, a fifth of the training images is held out."""


@dataclass(frozen=True)
class Probing:
    """What `hetconv sensitivity` is asked for.

    Attributes:
        network, variant, data, recipe, width, image_size, train_limit: as in `Comparison`.
        weights: of the trained network; None: it is trained by the recipe.
        parts, shares, layers: as in `hetconv.lab.compress.sensitivity`.
        validation_images: training images that accuracies are taken on, the last of the shuffle that `train_limit`
            takes the first of, so that a network trained with such a limit has not seen them. None: a fifth.
    """

    network: str
    variant: str
    data: str
    recipe: Recipe
    weights: Path | None = None
    parts: tuple[int, ...] | None = None
    shares: tuple[float, ...] | None = None
    layers: tuple[str, ...] | None = None
    width: float = 1.0
    image_size: int = 224
    train_limit: int | None = None
    validation_images: int | None = None
    seed: int = 0


def probe(
    probing: Probing, folder: Path, progress: Progress | None = None, told: Callable[[Probe], None] = keep_silent
) -> SensitivityResults:
    """Train or load the network, change one layer of it at a time, and keep what was found in sensitivity.json.

    Training goes on from the folder's checkpoint. What cannot be tried is found out before.

    Raises:
        UsageError: as `hetconv.lab.compress.sensitivity`, or the weights are another network's.
        HetconvError: a probe changed nothing, or a file cannot be written.
    """
    whole = load_data(probing.data, image_size=probing.image_size)
    apart = whole.train_images // VALIDATION_SHARE if probing.validation_images is None else probing.validation_images
    data = limited(whole, probing.train_limit, apart)
    comparison = Comparison(
        probing.network, (probing.variant,), (probing.seed,), probing.data, probing.recipe, probing.width,
        probing.image_size, probing.train_limit,
    )  # fmt: skip
    if comparison.compressed:
        raise UsageError(
            f"variant={probing.variant!r} is compressed after training; give {comparison.base(probing.variant)!r}"
        )
    comparison.check_classifies(data)
    torch.manual_seed(probing.seed)
    model = create_model(probing.network, probing.variant, data.num_classes, width=probing.width)
    plan_probes(model, data, parts=probing.parts, shares=probing.shares, layers=probing.layers)
    seen: bool | None = False
    if probing.weights is None:
        training = _train(comparison, model, data, folder, progress)
    else:
        load_weights(probing.weights, model)
        training, seen = _history(probing.weights, data.name, whole.train_images - apart)
    found = sensitivity(
        model, data, parts=probing.parts, shares=probing.shares, layers=probing.layers, told=told
    )  # fmt: skip
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = circumstances(device, "float32", "channels_last", data.test_images, torch.get_num_threads())
    network = comparison.settings(data).network
    results = SensitivityResults(network, probing.variant, data.name, training, seen, where, found)
    save_record(results, folder / "sensitivity.json")
    return results


def _train(comparison: Comparison, model: nn.Module, data: Data, folder: Path, progress: Progress | None) -> str:
    (variant,), (seed,) = comparison.variants, comparison.seeds
    identity = comparison.identity(data, variant, seed)
    train(
        model, data, comparison.recipe, seed, checkpoint=folder / "checkpoint.safetensors", identity=identity,
        progress=progress,
    )  # fmt: skip
    return f"{comparison.recipe.epochs} epochs on {data.train_images:,} images"


def _history(weights: Path, data: str, others: int) -> tuple[str, bool | None]:
    """How a file's network was trained, in words, and whether on more of the fixed shuffle than the images that come
    before the validation images: None where the file does not say, or it was trained on other data."""
    try:
        header = read_header(weights)
    except UsageError:
        return f"weights of {weights.name}", None
    images = header.identity.get("train_images")
    words = f"{weights.name}, {len(header.epochs)} epochs"
    if header.identity.get("data") != data or not isinstance(images, int):
        return words, None
    return f"{words} on {images:,} images", images > others
