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
        for variant, error in row["failed"].items() if row["kind"] in ("layer", "network") else ():
            lines.append(f"FAILED {row['title']}, {variant}: {error}")
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
        (f"bf16 forward, M ≥ 128, P{p}, over dense", _times_as_fast(wide, f"packed p{p}", "dense"), bar, aim)
        for p, bar, aim in ((4, 1.8, 2.5), (8, 2.4, 3.5))
    ]
    every_p = sorted({p for row in forward for p in parts(row)})
    grouped = [over for p in every_p for over in _times_as_fast(forward, f"packed p{p}", f"grouped p{p}")]
    floors = [
        row["floor_ms"][f"p{p}"] / row["latency_ms"][f"packed p{p}"]
        for row in wide
        for p in parts(row)
        if row["in_channels"] >= 256 and row["floor_ms"][f"p{p}"] is not None
    ]
    lines = [f"{name}: {mean(values):.2f}, {bar}, {aim}" for name, values, bar, aim in found]
    lines.append(f"forward over grouped + 1×1, least: {min(grouped, default=float('nan')):.2f}, 1.0,")
    lines.append(f"the same, mean: {mean(grouped):.2f}, , 3")
    lines.append(f"fraction of the floor, M ≥ 256: {mean(floors):.2f}, 0.5, 0.75")
    steps = [r for r in rows if r["kind"] == "network" and r["training"] and r["network"] == "vgg16_cifar"]
    for key, what in (("latency_ms", ""), ("graphed_ms", ", both as CUDA graphs")):
        for over in _times_as_fast(steps, "het-p4", "dense", key):
            lines.append(f"training step of VGG-16 at 32, P4, over dense{what}: {over:.2f}, 1.5, 2.2")
    return lines


def parts(row: Row) -> list[int]:
    """The P whose packed layers were timed."""
    return [int(name.removeprefix("packed p")) for name in row["latency_ms"] if name.startswith("packed p")]


def _times_as_fast(rows: Iterable[Row], ours: str, other: str, key: str = "latency_ms") -> list[float]:
    """Of the rows in which both were timed."""
    return [row[key][other] / row[key][ours] for row in rows if {ours, other} <= row[key].keys()]


def _layer(row: Row) -> str:
    step = f"/{row['stride']}" if row["stride"] > 1 else ""
    name = f"{row['network']} {row['in_channels']}→{row['out_channels']} {row['size']}{step}"
    return _line(name, row, "dense")


def _network(row: Row) -> str:
    return _line(
        f"{row['network']} {row['size']}, batch {row['batch']}{', training' if row['training'] else ''}", row, "dense"
    )


def _line(name: str, row: Row, base: str) -> str:
    """Milliseconds of the base, and how many times as fast the others are; theirs in milliseconds without a base."""
    taken = row["latency_ms"]
    if base not in taken:
        return f"{name:32}    no base  {'  '.join(f'{other} {ms:.4f} ms' for other, ms in taken.items())}"
    cells = "  ".join(f"{other} {taken[base] / ms:.2f}" for other, ms in taken.items() if other != base)
    return f"{name:32} {taken[base]:8.4f}  {cells}"


if __name__ == "__main__":
    print(table([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
