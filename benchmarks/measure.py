"""Measure HetConv layers against PyTorch's, each shape and number of threads interleaved; keep every result.

    python benchmarks/measure.py --out results.jsonl                       everything; an hour on one core
    python benchmarks/measure.py --out r.jsonl --sets vgg32 --batches 1    a part of it
    python benchmarks/table.py results.jsonl                               the figures against their bars

A run that was stopped goes on where it was: what is in the file is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from peers import forward_calls, training_calls
from shapes import PARTS, SETS, LayerShape

from hetconv.clock import Timer, medians, times_in_turns, wall
from hetconv.cost.circumstances import circumstances
from hetconv.ops.native import instruction_set, multiply_adds

SAMPLE_MS = 20.0
PEAK_ROUNDS = 100_000


Times = dict[str, float]


def measure(calls: Mapping[str, Callable[[], object]], threads: Sequence[int], rounds: int) -> dict[int, Times]:
    """Milliseconds of each call with each number of threads, the median of rounds in which all have their turn."""

    def timer(call: Callable[[], object], count: int) -> Timer:
        timed = wall(call)

        def with_threads(repeats: int) -> float:
            torch.set_num_threads(count)
            return timed(repeats)

        return with_threads

    timers = {(name, count): timer(call, count) for name, call in calls.items() for count in threads}
    found = medians(times_in_turns(timers, rounds, sample_ms=SAMPLE_MS))
    return {count: {name: found[name, count] for name in calls} for count in threads}


def run(
    shape: LayerShape, batch: int, training: bool, threads: Sequence[int], parts: tuple[int, ...], rounds: int
) -> Iterator[dict[str, object]]:
    """A record for each number of threads."""
    torch.set_num_threads(threads[0])
    calls = (training_calls if training else forward_calls)(shape, batch, parts)
    with torch.set_grad_enabled(training):
        measured = measure({**calls, "peak": lambda: multiply_adds(PEAK_ROUNDS)}, threads, rounds)
    for count, latency_ms in measured.items():
        peak_ms = latency_ms.pop("peak")
        where = circumstances(torch.device("cpu"), "float32", "both", batch, count)
        yield {
            **vars(shape),
            "batch": batch,
            "training": training,
            "threads": count,
            "peak_gflops": 2e-6 * multiply_adds(PEAK_ROUNDS) / peak_ms,
            "latency_ms": latency_ms,
            "instruction_set": instruction_set(),
            "circumstances": vars(where),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--parts", nargs="+", type=int, default=list(PARTS))
    parser.add_argument("--passes", nargs="+", choices=("forward", "training"), default=["forward", "training"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    done = {_key(json.loads(line)) for line in lines}
    for kind in given.passes:
        for shape in (shape for name in given.sets for shape in SETS[name]):
            for batch in given.batches:
                wanted = {**vars(shape), "batch": batch, "training": kind == "training"}
                if all(_key({**wanted, "threads": threads}) in done for threads in given.threads):
                    continue
                records = run(shape, batch, kind == "training", given.threads, tuple(given.parts), given.rounds)
                lines = [json.dumps(record) for record in records]
                with given.out.open("a") as file:
                    file.write("".join(f"{line}\n" for line in lines))
                print(shape, f"batch {batch}, {kind}", flush=True)


def _key(record: dict[str, object]) -> tuple[object, ...]:
    names = ("network", "in_channels", "out_channels", "size", "stride", "batch", "training", "threads")
    return tuple(record[name] for name in names)


if __name__ == "__main__":
    main()
