"""Check and measure HetConv on a GPU: values, the device's ceilings, layers, whole networks; a table at the end.

    python benchmarks/gpu.py --out gpu.jsonl            everything; under ten minutes
    python benchmarks/gpu.py --out gpu.jsonl --smoke    the same on tiny sizes, on the CPU where there is no GPU: its
                                                        times mean nothing, it shows that the run does not fail

Every row is written as soon as it is measured. A shape that fails is a row with its error, and the run goes on; where
it takes the process with it, or blocks, the next ones run in a new process.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_layers import layer_row
from gpu_networks import network_row
from gpu_plan import Plan, plan
from gpu_table import table
from gpu_timing import Call, timed, told
from gpu_values import values
from shapes import LayerShape
from survive import begins, done, run_jobs

from hetconv.cost.circumstances import circumstances
from hetconv.ops.gpu.choices import choices


def ceilings(todo: Plan) -> dict[str, float]:
    """What the device itself reaches: bytes a second of a copy, multiply-adds a second of a matrix product."""
    source = torch.empty(todo.copy_bytes, dtype=torch.uint8, device=todo.device)
    target = torch.empty_like(source)
    n = todo.matrix_size
    a, b = (torch.randn(n, n, device=todo.device).to(todo.dtype) for _ in range(2))
    calls: dict[str, Call] = {"copy": lambda: target.copy_(source), "matrix": lambda: a @ b}
    ms = timed(calls, todo.device, todo.rounds, 5 * todo.sample_ms)
    return {"copy_gb_per_s": 2e-6 * todo.copy_bytes / ms["copy"], "matrix_tmacs_per_s": 1e-9 * n**3 / ms["matrix"]}


def jobs(todo: Plan, given: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, object]]]]:
    """What is measured, the most wanted figures first; always the same list."""
    yield "ceilings", lambda: {"kind": "ceilings", **ceilings(todo)}
    yield "values", lambda: {"kind": "values", **values(todo)}

    def layer(shape: LayerShape, training: bool) -> Callable[[], dict[str, object]]:
        return lambda: layer_row(shape, training, todo, known_ceilings(given.out))

    for shape in todo.shapes:
        yield f"{shape}, forward", layer(shape, False)
    name, size, batch = todo.networks[0]
    yield f"{name} {size}, training", partial(network_row, name, size, todo.training_batch, True, todo)
    for name, size, batch in todo.networks:
        yield f"{name} {size}, forward", partial(network_row, name, size, batch, False, todo)
    for name, size, batch in todo.networks[1:]:
        yield f"{name} {size}, training", partial(network_row, name, size, batch, True, todo)
    for shape in todo.shapes:
        yield f"{shape}, training", layer(shape, True)


def known_ceilings(out: Path) -> dict[str, float]:
    """Those that were measured last; none where their measurement failed, which costs no layer its time."""
    found = [row for row in rows_of(out) if row["kind"] == "ceilings"]
    return {name: value for name, value in found[-1].items() if name.endswith("_per_s")} if found else {}


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Those that are whole: a process may have been ended while it wrote."""
    found = []
    for line in filter(None, out.read_text().splitlines()):
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def keep(row: dict[str, object], given: argparse.Namespace, where: dict[str, object] | None = None) -> None:
    with given.out.open("a") as file:
        row = {**row, "dtype": given.dtype, "circumstances": where}
        file.write(f"\n{json.dumps(row)}\n")  # not on a line that another process left unfinished


def work(todo: Plan, given: argparse.Namespace) -> None:
    """The jobs from the first one asked for; in a process that `run_jobs` watches."""
    where = vars(circumstances(todo.device, given.dtype, "channels_last", todo.batch, torch.get_num_threads()))
    begun, named = time.perf_counter(), set()
    for index, (title, job) in enumerate(jobs(todo, given)):
        if index < given.first:
            continue
        begins(index, title)
        if time.time() > given.until:
            keep({"kind": "skipped", "title": title, "reason": f"{given.seconds:.0f} s are over"}, given)
            done(index)
            continue
        try:
            keep({"title": title, **job()}, given, where)
        except Exception as error:  # one shape's failure must not cost the others' figures
            keep({"kind": "failed", "title": title, "error": told(error)}, given)
            traceback.print_exc()
        for key in choices().trials.keys() - named:
            tried = {str(trial.configuration): trial.median_ms or trial.refused for trial in choices().trials[key]}
            keep({"kind": "tuning", "call": str(key), "tried": tried, "chosen": str(choices().chosen[key])}, given)
            named.add(key)
        done(index)
        print(f"{time.perf_counter() - begun:5.0f} s  {title}", flush=True)
        gc.collect()
        torch._dynamo.reset()
        if todo.device.type == "cuda":
            torch.cuda.synchronize()  # a kernel that failed fails whatever comes after it: this process ends here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seconds", type=float, default=480, help="nothing new is begun after this time")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)  # a process of run_jobs
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not torch.cuda.is_available() and not given.smoke:
        sys.exit("there is no CUDA device here; --smoke runs the same on the CPU, its times without meaning")
    torch.backends.cudnn.benchmark = True
    if given.first is not None:
        work(plan(given.smoke, given.seconds, getattr(torch, given.dtype)), given)
        return
    until = time.time() + given.seconds
    before = len(rows_of(given.out)) if given.out.exists() else 0
    options = [sys.executable, __file__, "--out", str(given.out), "--dtype", given.dtype]
    options += ["--seconds", str(given.seconds), "--until", str(until), *(["--smoke"] if given.smoke else [])]
    run_jobs(
        lambda first: [*options, "--first", str(first)],
        max(60.0, given.seconds / 5),
        until,
        lambda title, reason: keep({"kind": "failed", "title": title, "error": reason}, given),
    )
    print(table(rows_of(given.out)[before:]))


if __name__ == "__main__":
    main()
