"""A training step of whole networks, dense and HetConv, in float32 and under bfloat16 autocast: timed in turns.

python benchmarks/training_step.py out.json --network airbench_cifar dense het-p4 het-p8
python benchmarks/training_step.py                      the table in docs/training.md, of the committed record

A step is the forward pass, the gradients and SGD's update. Before anything is timed, the gradients under autocast are
compared with those of float32: HetConv's may be off by twice as much as the dense network's.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pages import RESULTS, ROOT, write_table
from torch import Tensor, nn

from hetconv.clock import times_in_turns, wall
from hetconv.cost.circumstances import circumstances
from hetconv.lab.models import create_model
from hetconv.ops.native import instruction_set
from hetconv.table import Table

RECORD = RESULTS / "training-step.json"


def gradients(model: nn.Module, images: Tensor, labels: Tensor, bfloat16: bool) -> Tensor:
    """Those of the mean loss, in one vector; the model's own are replaced."""
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        outputs = model(images)
    nn.functional.cross_entropy(outputs.float(), labels).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(0, 10, (size,))


def made(network: str, variant: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(network, variant, 10).to(memory_format=torch.channels_last).train()


def bfloat16_error(network: str, variant: str) -> float:
    """Of all gradients together, by norm, from those of float32."""
    model, batch = made(network, variant), batch_of(64)
    right = gradients(model, *batch, bfloat16=False)
    return float((gradients(model, *batch, bfloat16=True) - right).norm() / right.norm())


def step_of(network: str, variant: str, batch: tuple[Tensor, Tensor], bfloat16: bool) -> Callable[[], object]:
    model = made(network, variant)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        gradients(model, *batch, bfloat16)
        optimizer.step()

    return step


def measure(network: str, variants: list[str], batch: int, rounds: int) -> dict[str, Any]:
    errors = {variant: bfloat16_error(network, variant) for variant in variants}
    wrong = {v: error for v, error in errors.items() if v.startswith("het") and not error <= 2 * errors["dense"]}
    assert not wrong, f"gradients in bfloat16 are off by {wrong}, the dense network's by {errors['dense']:.2g}"
    images = batch_of(batch)
    steps = {
        f"{variant} {precision}": step_of(network, variant, images, precision == "bfloat16")
        for variant in variants
        for precision in ("float32", "bfloat16")
    }
    times = times_in_turns({name: wall(step) for name, step in steps.items()}, rounds)
    where = circumstances(torch.device("cpu"), "float32 and bfloat16", "channels_last", batch, torch.get_num_threads())
    found = {name: {"median_ms": statistics.median(ms), "least_ms": min(ms)} for name, ms in times.items()}
    return {
        "processor": where.processor, "threads": where.threads, "date": where.date, "versions": where.versions,
        "instruction_set": instruction_set(), "network": network, "variants": variants, "batch": batch,
        "rounds": rounds, "gradient_errors": errors, "times": found,
    }  # fmt: skip


def table(record: Mapping[str, Any]) -> str:
    """Milliseconds of a step, and the share of the dense network's time, as Markdown."""

    def cells(variant: str, precision: str) -> tuple[str, str]:
        ms, dense = (record["times"][f"{name} {precision}"]["median_ms"] for name in (variant, "dense"))
        return f"{ms:.0f}", f"{ms / dense:.2f}"

    rows = [(v, *cells(v, "float32"), *cells(v, "bfloat16")) for v in record["variants"]]
    headings = ("variant", "float32, ms", "of dense", "bfloat16, ms", "of dense ")
    note = (
        f"`{record['network']}`, batch {record['batch']}, {record['threads']} thread; {record['processor']}, "
        f"{record['instruction_set']}; torch {record['versions']['torch']}; {record['date']}."
    )
    return Table.of_rows(headings, rows, (note,)).markdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("variants", nargs="*", default=[])
    parser.add_argument("--network", default="airbench_cifar")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.out is None:
        write_table(ROOT / "docs/training.md", "training step", table(json.loads(RECORD.read_text())))
        return
    torch.set_num_threads(1)
    record = measure(given.network, ["dense", *(v for v in given.variants if v != "dense")], given.batch, given.rounds)
    given.out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
