"""Plan networks for several speed-ups, then time each planned network anew, beside the original, in turns.

python benchmarks/plans.py benchmarks/results/plans.json --weights airbench_cifar=dense.safetensors

Without `--weights` a network's weights are as they are made: times do not depend on them. What is in the record is not
measured again. The first plan of a network measures its layers, and the others take that. Nothing else should run on
the machine. The table in docs/adapting.md is written of the record.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from pages import ROOT, write_table
from torch import Tensor, nn

from hetconv.adaptation import Plan, plan
from hetconv.adaptation.targets import DeployTarget
from hetconv.convert import convert_
from hetconv.cost.circumstances import circumstances
from hetconv.files import write_atomically
from hetconv.lab.models import create_model
from hetconv.records import adapter
from hetconv.table import Table
from hetconv.weights_file import load_weights

NETWORKS = {"airbench_cifar": (3, 32, 32), "vgg16_cifar": (3, 32, 32), "resnet34": (3, 224, 224)}
SPEEDUPS = (1.25, 1.5, 2.0, 3.0)
IMAGES = 64


def network(name: str, weights: str | None, images: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(name).train()
    if weights is not None:
        load_weights(Path(weights), model)
        return model.eval()
    with torch.no_grad():
        model(images)  # batch-norm statistics
    return model.eval()


def measured(model: nn.Module, images: Tensor, speedup: float, earlier: Plan | None) -> tuple[dict[str, Any], Plan]:
    example = images[:1]
    begin = time.perf_counter()
    found = plan(model, example, images=images, speedup=speedup, measured=earlier)
    seconds = time.perf_counter() - begin
    planned = copy.deepcopy(model)
    convert_(planned, found)
    target = DeployTarget()
    times = target.network_times(
        {"original": target.prepare(model, example), "planned": target.prepare(planned, example)}, example
    )
    return {
        "asked": speedup, "planned": found.speedup, "is_met": found.is_met,
        "measured": times["original"] / times["planned"], "p": dict(found.p_by_name),
        "seconds": seconds,
    }, found  # fmt: skip


def table(record: dict[str, Any]) -> Table:
    rows = [
        (name, f"{one['asked']:g}", f"{one['measured']:.2f}", f"{one['measured'] / one['asked'] - 1:+.1%}",
         "yes" if one["is_met"] else "out of reach", f"{one['seconds']:.0f}")
        for name, of_network in record["found"].items() for one in of_network.values()
    ]  # fmt: skip
    at = record["circumstances"]
    where = f"{at['processor']}, {at['threads']} thread, batch {at['batch_size']}, {at['date']}."
    return Table.of_rows(("network", "asked", "measured anew", "off by", "met", "planned in s"), rows, [where])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--weights", nargs="*", default=[], help="network=file")
    given = parser.parse_args()
    weights = dict(named.split("=", 1) for named in given.weights)
    torch.set_num_threads(1)
    at = adapter(type(circumstances(torch.device("cpu"), "float32", "channels_last", 1, 1)))
    record: dict[str, Any] = json.loads(given.record.read_text()) if given.record.exists() else {"found": {}}
    record["circumstances"] = at.dump_python(
        circumstances(torch.device("cpu"), "float32", "channels_last", 1, 1), mode="json"
    )
    for name, size in NETWORKS.items():
        images = torch.randn(IMAGES, *size, generator=torch.Generator().manual_seed(0))
        of_network, earlier = record["found"].setdefault(name, {}), None
        for speedup in SPEEDUPS:
            if f"{speedup:g}" not in of_network:
                model = network(name, weights.get(name), images)
                of_network[f"{speedup:g}"], earlier = measured(model, images, speedup, earlier)
                print(name, of_network[f"{speedup:g}"], flush=True)
                write_atomically(given.record, (json.dumps(record, indent=1) + "\n").encode())
    write_table(ROOT / "docs/adapting.md", "plans", table(record).markdown())


if __name__ == "__main__":
    main()
