"""Images a second of each loader beside those that a network trains: is loading the data ever the bottleneck?

    python benchmarks/loader.py --out loader.json --cifar10 ~/data --images ~/photographs

The folder of images has train/<class>/ and val/<class>/; tar shards of it are made in a temporary folder. Loader and
training have turns. Both are counted in seconds of one core's own time, of which other programs take nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from hetconv.cost.circumstances import circumstances
from hetconv.lab.models import create_model
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data, Objective, load_data
from hetconv.lab.train.write_shards import write_shards


@dataclass(frozen=True)
class Case:
    """A set, and the network that trains fastest on it of those that are studied: the hardest for a loader."""

    name: str
    spec: str
    network: str
    variant: str
    width: float
    batch_size: int


def cases(cifar10: Path | None, images: Path | None, shards: Path) -> list[Case]:
    found = [Case("digits", "digits", "vgg16_cifar", "het-p8", 0.25, 128)]
    if cifar10 is not None:
        found.append(Case("cifar10", f"cifar10:{cifar10}", "vgg16_cifar", "het-p64", 1.0, 64))
    if images is not None:
        write_shards(images, shards)
        found.append(Case("imagefolder", f"imagefolder:{images}", "mobilenet_v1", "het-p32", 1.0, 16))
        found.append(Case("shards", f"shards:{shards}", "mobilenet_v1", "het-p32", 1.0, 16))
    return found


def loading(data: Data, batch_size: int) -> Callable[[], int]:
    """Loads one batch; epoch follows epoch."""
    loader = replace(data, workers=0).train_loader(batch_size)
    state = [iter(loader)]

    def call() -> int:
        batch = next(state[0], None)
        if batch is None:
            state[0] = iter(loader)
            batch = next(state[0])
        return len(batch[1])

    return call


def training(data: Data, case: Case) -> Callable[[], int]:
    """Trains on the same batch again and again."""
    model: nn.Module = create_model(case.network, case.variant, data.num_classes, width=case.width)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = Objective().optimizer(model, Recipe())
    images, labels = next(iter(replace(data, workers=0).train_loader(case.batch_size)))
    images = images.to(memory_format=torch.channels_last)

    def call() -> int:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(images), labels).backward()
        optimizer.step()
        return len(labels)

    return call


def measure(case: Case, rounds: int) -> dict[str, object]:
    data = load_data(case.spec)
    calls = {"loader": loading(data, case.batch_size), "training": training(data, case)}
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            begin = time.process_time()
            count = call()
            if number:  # the first round warms up
                rates[name].append(count / (time.process_time() - begin))
    where = circumstances(torch.device("cpu"), "float32", "channels_last", case.batch_size, torch.get_num_threads())
    found = {name: statistics.median(values) for name, values in rates.items()}
    return {
        **{name: value for name, value in vars(case).items() if name != "spec"},
        "images_per_second": found,
        "loader_over_training": found["loader"] / found["training"],
        "rounds": rounds,
        "circumstances": vars(where),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as shards:
        found = [measure(case, given.rounds) for case in cases(given.cifar10, given.images, Path(shards))]
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    for record in found:
        print(record["name"], record["images_per_second"], f"{record['loader_over_training']:.1f} times")


if __name__ == "__main__":
    main()
