"""The rows of `gpu.py` as a short table, with the figures that are wanted.

python benchmarks/gpu_table.py gpu.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from table import mean

Row = dict[str, Any]


def table(rows: list[Row]) -> str:
    """Layers, networks, figures; then what failed or was not reached."""
    layers = [row for row in rows if row["kind"] == "layer"]
    lines = []
    for training in (False, True):
        chosen = [row for row in layers if row["training"] == training]
        if chosen:
            lines += ["", f"layers, {'forward and backward' if training else 'forward'}: dense ms, then times as fast"]
            lines += [_layer(row) for row in chosen]
    lines += ["", "networks: dense ms, then times as fast"]
    lines += [_network(row) for row in rows if row["kind"] == "network"]
    lines += ["", "figure: measured, bar, aim", *figures(rows)]
    for row in rows:
        if row["kind"] == "values":
            lines.append(f"values: {row['compared']} compared, {row['failures']} wrong; first: {row['failed'][:3]}")
        if row["kind"] == "halo":
            lines.append(
                f"kernel with its input in shared memory: {row['said'].splitlines()[-1] if row['said'] else row}"
            )
        for variant, error in row.get("failed", {}).items() if row["kind"] == "network" else ():
            lines.append(f"FAILED {row['network']} {row['size']}, {variant}: {error}")
        if row["kind"] == "failed":
            lines.append(f"FAILED {row['title']}: {row['error']}")
        if row["kind"] == "skipped":
            lines.append(f"not begun, {row['reason']}: {row['title']}")
    return "\n".join(lines)


def figures(rows: list[Row]) -> list[str]:
    """Figure by figure: what was measured, the bar and the aim."""
    forward = [row for row in rows if row["kind"] == "layer" and not row["training"]]
    wide = [row for row in forward if row["in_channels"] >= 128]
    found = [
        (
            f"bf16 forward, M ≥ 128, P{p}, over dense",
            [_over(r, f"packed p{p}", "dense") for r in wide if p in parts(r)],
            bar,
            aim,
        )
        for p, bar, aim in ((4, 1.8, 2.5), (8, 2.4, 3.5))
    ]
    chosen = [row for row in rows if row["kind"] == "tuning" and "HaloConfiguration" in row["chosen"]]
    grouped = [_over(r, f"packed p{p}", f"grouped p{p}") for r in forward for p in parts(r)]
    floors = [
        r["floor_ms"][f"p{p}"] / r["latency_ms"][f"packed p{p}"]
        for r in wide
        for p in parts(r)
        if r["in_channels"] >= 256
    ]
    lines = [f"{name}: {mean(values):.2f}, {bar}, {aim}" for name, values, bar, aim in found]
    lines.append(f"forward over grouped + 1×1, least: {min(grouped, default=float('nan')):.2f}, 1.0,")
    lines.append(f"the same, mean: {mean(grouped):.2f}, , 3")
    lines.append(f"fraction of the floor, M ≥ 256: {mean(floors):.2f}, 0.5, 0.75")
    tuned = sum(row["kind"] == "tuning" for row in rows)
    lines.append(f"choices that fell on the kernel with its input in shared memory: {len(chosen)} of {tuned}")
    for row in rows:
        if row["kind"] == "network" and row["training"] and row["network"] == "vgg16_cifar":
            lines.append(
                f"training step of VGG-16 at 32, P4, over dense: {_over(row, 'het-p4', 'dense'):.2f}, 1.5, 2.2"
            )
    return lines


def parts(row: Row) -> list[int]:
    return [int(name.removeprefix("het p")) for name in row["latency_ms"] if name.startswith("het p")]


def _over(row: Row, ours: str, other: str) -> float:
    return float(row["latency_ms"][other] / row["latency_ms"][ours])


def _layer(row: Row) -> str:
    step = f"/{row['stride']}" if row["stride"] > 1 else ""
    name = f"{row['network']} {row['in_channels']}→{row['out_channels']} {row['size']}{step}"
    return _line(name, row, "dense")


def _network(row: Row) -> str:
    return _line(
        f"{row['network']} {row['size']}, batch {row['batch']}{', training' if row['training'] else ''}", row, "dense"
    )


def _line(name: str, row: Row, base: str) -> str:
    others: Iterable[str] = (other for other in row["latency_ms"] if other != base)
    cells = "  ".join(f"{other} {_over(row, other, base):.2f}" for other in others)
    return f"{name:32} {row['latency_ms'][base]:8.4f}  {cells}"


if __name__ == "__main__":
    print(table([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
