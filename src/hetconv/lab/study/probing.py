"""The sensitivity of a named network: trained here, or read from a checkpoint; the test split is not looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hetconv.cost.circumstances import circumstances
from hetconv.errors import UsageError
from hetconv.lab.compress import plan_probes, sensitivity
from hetconv.lab.compress.sensitivity import keep_silent
from hetconv.lab.results import Probe, SensitivityResults
from hetconv.lab.settings import Probing
from hetconv.lab.study.network_study import NetworkOnData
from hetconv.lab.train import Progress, load_data, train
from hetconv.lab.train.checkpoint import read_header
from hetconv.lab.train.data import limited
from hetconv.records import save_record
from hetconv.weights_file import load_weights

VALIDATION_SHARE = 5
"""By default, a fifth of the training images is held out."""


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
    variant = probing.variant
    if variant.method is not None:
        raise UsageError(f"variant={variant.spec!r} is compressed after training; give {variant.base.spec!r}")
    network = NetworkOnData(replace(probing, weights=None).comparison(), data)
    network.check()
    torch.manual_seed(probing.seed)
    model = network.build(variant)
    plan_probes(model, data, parts=probing.parts, shares=probing.shares, layers=probing.layers)
    seen: bool | None = False
    if probing.weights is None:
        train(
            model, data, probing.recipe, probing.seed, checkpoint=folder / "checkpoint.safetensors",
            identity=network.identity(variant, probing.seed), progress=progress,
        )  # fmt: skip
        training = f"{probing.recipe.epochs} epochs on {data.train_images:,} images"
    else:
        load_weights(probing.weights, model)
        training, seen = _history(probing.weights, data.name, whole.train_images - apart)
    found = sensitivity(
        model, data, parts=probing.parts, shares=probing.shares, layers=probing.layers, told=told
    )  # fmt: skip
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = circumstances(device, "float32", "channels_last", data.test_images, torch.get_num_threads())
    title = network.settings().network
    results = SensitivityResults(title, variant.spec, data.name, training, seen, where, found)
    save_record(results, folder / "sensitivity.json")
    return results


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
