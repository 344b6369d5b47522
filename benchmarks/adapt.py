"""Adapt trained networks for several speed-ups; compare with a uniform P, and with no training.

python benchmarks/adapt.py benchmarks/results/adapt-cifar10.json --model airbench_cifar --data cifar10:~/data \\
    --dense runs/94/dense/seed-*.safetensors --epochs 3 --folder runs/adapt

Each dense checkpoint is one seed. Everything is kept in the folder and in the record, and a stopped run goes on.
Times are measured: nothing else should run on the machine. The table in docs/adapting.md is written of the record.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pages import RESULTS, ROOT, write_table
from torch import nn

from hetconv.adaptation import Plan, refit_
from hetconv.adaptation.plan import FORMAT, PlannedLayer
from hetconv.adaptation.targets import DeployTarget
from hetconv.convert import convert_, convertible
from hetconv.cost.circumstances import circumstances
from hetconv.errors import UsageError
from hetconv.files import write_atomically
from hetconv.lab.adapting.course import adapt, recipe_of
from hetconv.lab.models import create_model
from hetconv.lab.settings import Adaptation, Tuning
from hetconv.lab.train import Data, load_data
from hetconv.records import adapter
from hetconv.table import NOTHING, Table
from hetconv.weights_file import load_weights

ADAPTED = (2.0, 3.0)
UNIFORM = (2, 4, 8, 16, 32)
REFITTED = (2, 4)
IMAGES = 2000
TUNINGS = RESULTS / "adapt-rates.json"
"""Trials of the tuning alone, each from a refitted network."""
REFUSED = "refused"


class Bench:
    """One record; what is in it is not measured again."""

    def __init__(self, args: argparse.Namespace, data: Data) -> None:
        self.args, self.data = args, data
        done = json.loads(args.record.read_text()) if args.record.exists() else {}
        self.found: dict[str, Any] = done.get("found", {})
        self.example = torch.randn(args.batch_size, *data.input_size, generator=torch.Generator().manual_seed(0))

    def once(self, key: str, measure: Callable[[], Any]) -> Any:
        if key not in self.found:
            print(key, flush=True)
            self.found[key] = measure()
            self.save()
        return self.found[key]

    def save(self) -> None:
        at = circumstances(torch.device("cpu"), "float32", "channels_last", len(self.example), torch.get_num_threads())
        record = {
            "settings": {
                "model": self.args.model,
                "width": self.args.width,
                "data": self.data.name,
                "epochs": self.args.epochs,
                "learning_rate": self.args.lr,
            },
            "circumstances": adapter(type(at)).dump_python(at, mode="json"),
            "found": self.found,
        }
        write_atomically(self.args.record, json.dumps(record, indent=1).encode() + b"\n")

    def network(self, weights: Path, variant: str = "dense") -> nn.Module:
        network = create_model(self.args.model, variant, self.data.num_classes, width=self.args.width)
        load_weights(weights, network)
        return network.eval()

    def accuracy(self, network: nn.Module) -> float:
        network.eval()
        with torch.no_grad():
            right = sum(int((network(x).argmax(1) == y).sum()) for x, y in self.data.test_loader(500))
        return right / self.data.test_images

    def seed(self, seed: int, weights: Path) -> None:
        """Everything of one dense network."""
        dense = self.network(weights)
        self.once(f"seed {seed}: dense accuracy", lambda: self.accuracy(dense))
        for p in REFITTED:
            self.once(f"seed {seed}: refit P{p}", lambda p=p: self.refitted(dense, p))
        for speedup in ADAPTED:
            key = f"seed {seed}: adapted {speedup:g}"
            found = self.once(key, lambda speedup=speedup: self.adapted(dense, weights, seed, speedup))
            if REFUSED not in found:
                ratio = found["original_ms"] / found["adapted_ms"]
                key = f"seed {seed}: uniform as fast as {speedup:g}"
                self.tuned(dense, weights, seed, self.once(key, lambda ratio=ratio: self.uniform(dense, ratio)))
        self.tuned(dense, weights, seed, 4)

    def refitted(self, dense: nn.Module, p: int) -> dict[str, float]:
        network = copy.deepcopy(dense)
        convert_(network, p)
        projected = self.accuracy(network)
        report = refit_(network, dense, self.data.first_images(IMAGES))
        return {"projected": projected, "refitted": self.accuracy(network), "output_error": report.error_after}

    def adapted(self, dense: nn.Module, weights: Path, seed: int, speedup: float | None, name: str = "") -> Any:
        recipe = recipe_of(weights, Tuning(epochs=self.args.epochs, lr=self.args.lr))
        wanted = Adaptation(
            name=self.args.model, speedup=speedup, recipe=recipe, images=IMAGES, batch_size=self.args.batch_size,
            seed=seed,
        )  # fmt: skip
        folder = self.args.folder / f"seed-{seed}" / (name or f"speedup-{speedup:g}")
        try:
            found = adapt(dense, self.data, wanted, folder, told=print)
        except UsageError as error:
            return {REFUSED: str(error).partition(";")[0]}
        return adapter(type(found)).dump_python(found, mode="json", exclude={"identity"})

    def uniform(self, dense: nn.Module, speedup: float) -> int:
        """The smallest P everywhere with this speed-up, or the largest P."""
        return next((p for p in UNIFORM if self.uniform_plan(dense, p).speedup >= 0.97 * speedup), UNIFORM[-1])

    def tuned(self, dense: nn.Module, weights: Path, seed: int, p: int) -> None:
        """The same P everywhere, with the same refit and tuning."""
        path = self.args.folder / f"seed-{seed}" / f"p{p}" / "plan.json"
        if not path.exists():
            self.uniform_plan(dense, p).save(path)
        self.once(f"seed {seed}: P{p} tuned", lambda: self.adapted(dense, weights, seed, None, f"p{p}"))

    def uniform_plan(self, dense: nn.Module, p: int) -> Plan:
        target = DeployTarget()
        network = copy.deepcopy(dense)
        convert_(network, p)
        prepared = {"original": target.prepare(dense, self.example), "uniform": target.prepare(network, self.example)}
        times = target.network_times(prepared, self.example)
        chosen = {entry.name: entry.p for entry in convertible(dense, p).converted if entry.p is not None}
        each = target.layer_times(dense, self.example, {name: (value,) for name, value in chosen.items()})
        layers = tuple(PlannedLayer(name, "", chosen[name], each[name], {1: 0.0, chosen[name]: 0.0}) for name in each)
        ms = times["uniform"]
        return Plan(
            FORMAT, "deploy", f"P={p} everywhere", ms, times["original"], ms, True, layers, (), (),
            target.circumstances(),
        )  # fmt: skip


def table(found: Mapping[str, Any]) -> str:
    """The figures of a record, as Markdown: what was done, the speed-up, the accuracy after each step."""
    rows = []
    for key, value in found.items():
        seed, _, what = key.removeprefix("seed ").partition(": ")
        if what == "dense accuracy":
            rows.append((f"{seed}, dense", "1.00", f"{100 * value:.2f}"))
        elif what.startswith("refit"):
            steps = f"converted {100 * value['projected']:.2f}, refitted {100 * value['refitted']:.2f}"
            rows.append((f"{seed}, {what.removeprefix('refit ')} everywhere", NOTHING, steps))
        elif what.startswith(("adapted", "P")):
            rows.append(_adapted_row(seed, what, value))
    headings = ("seed, network", "deployed, times as fast", "accuracy %, step after step")
    return Table.of_rows(headings, rows).markdown()


def tunings(record: Mapping[str, Any]) -> str:
    """How refitted networks were tuned, and the accuracy after the last epoch, as Markdown."""
    rows = [
        (row["network"], str(row["epochs"]), str(row["batch_size"]), f"{row['rate_share']:g}",
         "logits and features" if row["features"] else "logits", f"{row['accuracy_by_epoch'][-1]:.2f}")
        for row in record["rows"]
    ]  # fmt: skip
    headings = ("network", "epochs", "batch", "rate, share of its own", "learns the original's", "accuracy %")
    return Table.of_rows(headings, rows).markdown()


def _adapted_row(seed: str, what: str, value: Mapping[str, Any]) -> tuple[str, str, str]:
    name = f"adapted for {what.split()[1]} times" if what.startswith("adapted") else f"{what.split()[0]} everywhere"
    if REFUSED in value:
        return f"{seed}, {name}", NOTHING, f"refused: {value[REFUSED]}"
    steps = ", ".join(f"{step['name']} {100 * step['accuracy']:.2f}" for step in value["steps"][1:])
    return f"{seed}, {name}", f"{value['original_ms'] / value['adapted_ms']:.2f}", steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--data", required=True)
    parser.add_argument("--dense", type=Path, nargs="+", required=True, help="one checkpoint a seed")
    parser.add_argument("--epochs", type=int, required=True, help="of each tuning: a third of the network's own")
    parser.add_argument("--lr", type=float, help="of each tuning; half of the network's own without")
    parser.add_argument("--batch-size", type=int, default=1, help="of the batch that is timed")
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    bench = Bench(args, load_data(args.data))
    for seed, weights in enumerate(args.dense):
        bench.seed(seed, weights)
    write_table(ROOT / "docs/adapting.md", "adapted", table(bench.found))
    write_table(ROOT / "docs/adapting.md", "tunings", tunings(json.loads(TUNINGS.read_text())))


if __name__ == "__main__":
    main()
