"""The figures of a measurement against their bars, and its rows shape by shape, in Markdown.

python benchmarks/table.py results.jsonl [--rows]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shapes import theory

from hetconv.table import NOTHING, Table

Record = dict[str, Any]


def mean(values: Iterable[float]) -> float:
    """Geometric mean; NaN of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def fastest(record: Record, name: str) -> float:
    """The faster of both memory formats, in milliseconds."""
    return min(ms for key, ms in record["latency_ms"].items() if key.rsplit(" ", 1)[0] == name)


def parts(record: Record) -> list[int]:
    return [int(key.split()[1][1:]) for key in record["latency_ms"] if key.startswith("het p")]


def speedup(record: Record, ours: str, p: int, over: str) -> float:
    return fastest(record, over) / fastest(record, f"{ours} p{p}")


def gflops(record: Record, ours: str, p: int) -> float:
    """2 · the multiply-adds of the layer as it is defined, over the time of one forward pass; Winograd does fewer."""
    out = (record["size"] + record["stride"] - 1) // record["stride"]
    macs = record["batch"] * out * out * record["in_channels"] * record["out_channels"] * (1 + 8 / p)
    return 2e-6 * macs / fastest(record, f"{ours} p{p}")


def figures(records: list[Record], ours: str) -> list[tuple[str, float, str, str]]:
    """(figure, measured, bar, aim); `ours` is `packed` for inference or `het`, which packs at every call."""

    def over(chosen: list[Record], wanted: Callable[[int], bool], value: Callable[[Record, int], float]) -> list[float]:
        return [value(record, p) for record in chosen for p in parts(record) if wanted(p)]

    one = [record for record in records if record["threads"] == 1]
    forward = [record for record in one if not record["training"]]
    training = [record for record in one if record["training"]]
    wide = [record for record in forward if record["in_channels"] >= 128]

    def of_theory(record: Record, p: int) -> float:
        return speedup(record, ours, p, "dense") / theory(p)

    grouped = over(forward, lambda p: True, lambda record, p: speedup(record, ours, p, f"grouped p{p}"))
    trained = over(training, lambda p: p <= 8, lambda record, p: speedup(record, "het", p, "dense") / theory(p))
    peak = over(wide, lambda p: True, lambda record, p: gflops(record, ours, p) / record["peak_gflops"])
    return [
        (
            "forward over the faster dense, / theory, P ≤ 8",
            mean(over(forward, lambda p: p <= 8, of_theory)),
            "1.0",
            "1.1",
        ),
        ("the same, P ≥ 16", mean(over(forward, lambda p: p >= 16, of_theory)), "0.95", "1.0"),
        ("P = 1 over the faster dense", mean(over(forward, lambda p: p == 1, of_theory)), "1.0", "1.1"),
        ("forward over grouped + 1×1, mean", mean(grouped), "1.8", "2.5"),
        ("forward over grouped + 1×1, least", min(grouped, default=math.nan), "1.0", ""),
        ("forward + backward over dense, / theory, P ≤ 8", mean(trained), "0.85", "1.0"),
        ("fraction of peak, M ≥ 128", mean(peak), "0.85", "0.95"),
        ("two threads over one, batch 16", mean(_threads(records, ours)), "1.8", "1.9"),
    ]


def _threads(records: list[Record], ours: str) -> Iterable[float]:
    names = ("network", "in_channels", "out_channels", "size", "stride", "batch", "training")
    one = {tuple(r[name] for name in names): r for r in records if r["threads"] == 1}
    for record in records:
        other = one.get(tuple(record[name] for name in names))
        if record["threads"] == 2 and record["batch"] == 16 and other is not None and not record["training"]:
            yield from (fastest(other, f"{ours} p{p}") / fastest(record, f"{ours} p{p}") for p in parts(record))


def row(record: Record, ours: str) -> tuple[str, ...]:
    name = f"{record['network']} {record['in_channels']}→{record['out_channels']} {record['size']}/{record['stride']}"
    kind = "training" if record["training"] else "forward"
    cells = [f"{speedup(record, ours, p, 'dense'):.2f}" for p in parts(record)]
    return name, str(record["batch"]), kind, str(record["threads"]), f"{fastest(record, 'dense'):.3f}", *cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--rows", action="store_true")
    given = parser.parse_args()
    records = [json.loads(line) for line in given.results.read_text().splitlines()]
    for ours, title in (("packed", "weights packed once"), ("het", "weights packed at every call")):
        rows = [
            (name, NOTHING if math.isnan(measured) else f"{measured:.2f}", bar, aim)
            for name, measured, bar, aim in figures(records, ours)
        ]
        print(Table.of_rows((f"figure, {title}", "measured", "bar", "aim"), rows).markdown())
    if given.rows:
        headings = ("layer", "batch", "pass", "threads", "dense ms", *(f"P{p}" for p in parts(records[0])))
        rows = [row(record, "het" if record["training"] else "packed") for record in records]
        print(Table.of_rows(headings, rows).markdown())


if __name__ == "__main__":
    main()
