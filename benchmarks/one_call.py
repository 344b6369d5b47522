"""Networks of float32 deployed, against ONNX Runtime on its own operators and on ours: timed in turns.

python benchmarks/one_call.py out.json --threads 1 vgg16_cifar:het-p4 resnet50:het-p4 resnet18 timm:ghostnet_100
python benchmarks/one_call.py                           the table in docs/speed.md, of the committed records

A network is one of ours with a variant, of torchvision, or of timm. Weights are as they are made; times do not depend
on them. Every output is compared with the network's own before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pages import RESULTS, ROOT, write_table
from torch import Tensor, nn

from hetconv.clock import times_in_turns, wall
from hetconv.cost.circumstances import circumstances
from hetconv.deployment import Deployed, deploy
from hetconv.export.candidate import Candidate, choices, fastest
from hetconv.export.verify import reference
from hetconv.lab.models import create_model
from hetconv.runtimes import onnx_runtime_library
from hetconv.table import NOTHING, Table

LARGEST_ERROR = 1e-3
DEPLOYED, ONE_BY_ONE, NATIVE, STANDARD = (
    "deployed", "one call after another", "ONNX Runtime, our operator", "ONNX Runtime"
)  # fmt: skip
Call = Callable[[], Any]


def network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    if ":" in name and not name.startswith("timm:"):
        model, variant = name.split(":")
        size = 32 if model.endswith("cifar") else 224
        return create_model(model, variant, 10).eval(), torch.randn(1, 3, size, size)
    if name.startswith("timm:"):
        import timm

        made = timm.create_model(name.removeprefix("timm:"), pretrained=False)
    else:
        import torchvision

        made = getattr(torchvision.models, name)(weights=None)
    return made.eval(), torch.randn(1, 3, 224, 224)


def session(candidate: Candidate, x: Tensor, threads: int, native: bool) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if native:
        options.add_session_config_entry("hetconv.threads", str(threads))
        options.register_custom_ops_library(str(onnx_runtime_library()))
    opened = onnxruntime.InferenceSession(candidate.onnx, options, providers=["CPUExecutionProvider"])
    given = {opened.get_inputs()[0].name: x.numpy()}
    return lambda: opened.run(None, given)[0]


def on_runtime(model: nn.Module, x: Tensor, threads: int, native: bool, small: bool) -> Call:
    """Of the forms that a layer has, the fastest; of a large network, the first."""
    form = "native" if native else "auto"
    right = [reference(model, x)]
    if small:
        return session(fastest(model, form, (x,), right, threads).candidate, x, threads, native)  # type: ignore[arg-type]
    return session(
        Candidate(model, choices(model, form)[0], (x,), right, threads, "onnxruntime"),
        x,
        threads,
        native,  # type: ignore[arg-type]
    )


def calls_of(model: nn.Module, x: Tensor, threads: int) -> tuple[dict[str, Call], Deployed, dict[str, str]]:
    small = x.shape[-1] == 32
    deployed = deploy(model, x, timed=False)
    made: dict[str, Callable[[], Call]] = {
        DEPLOYED: lambda: lambda: deployed(x),
        ONE_BY_ONE: lambda: lambda: deployed.network.graph(x),
        STANDARD: lambda: on_runtime(model, x, threads, native=False, small=small),
        NATIVE: lambda: on_runtime(model, x, threads, native=True, small=small),
    }
    calls, refused = {}, {}
    right = model(x)
    for runtime, make in made.items():
        try:
            with torch.inference_mode(False), torch.no_grad():
                call = make()
            error = float((torch.as_tensor(call()) - right).norm() / right.norm())
            if not error <= LARGEST_ERROR:
                raise ValueError(f"outputs are off by {error:.2g}")
            calls[runtime] = call
        except Exception as problem:  # whatever somebody else's flow does
            refused[runtime] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
    return calls, deployed, refused


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Milliseconds deployed, and how many times as fast that is as the other ways, as Markdown."""
    others = (STANDARD, NATIVE, ONE_BY_ONE)
    rows = []
    for record in records:
        for row in record["rows"]:
            times = {way: found["median_ms"] for way, found in row["times"].items()}
            ratios = [f"{times[way] / times[DEPLOYED]:.2f}" if way in times else NOTHING for way in others]
            name = row["network"].removeprefix("timm:").replace(":", " ")
            rows.append((name, str(record["threads"]), f"{times[DEPLOYED]:.2f}", *ratios))
    where = records[0]
    versions = ", ".join(f"{name} {where['versions'][name]}" for name in ("torch", "onnxruntime"))
    headings = ("network", "threads", "deployed, ms", *(f"over {way}" for way in others))
    note = f"{where['processor']}, batch 1, {where['date']}; {versions}."
    return Table.of_rows(headings, rows, (note, *map(mean, records))).markdown()


def mean(record: Mapping[str, Any]) -> str:
    times = [row["times"] for row in record["rows"] if STANDARD in row["times"]]
    ratios = [found[STANDARD]["median_ms"] / found[DEPLOYED]["median_ms"] for found in times]
    return (
        f"Over ONNX Runtime, threads={record['threads']}: geometric mean {statistics.geometric_mean(ratios):.2f} of "
        f"{len(ratios)} networks, least {min(ratios):.2f}."
    )


def committed() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("one-call-threads-*.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.out is None:
        write_table(ROOT / "docs/speed.md", "one call", table(committed()))
        return
    torch.set_num_threads(given.threads)
    where = circumstances(torch.device("cpu"), "float32", "channels_last", 1, given.threads)
    versions = {**where.versions, "onnxruntime": importlib.metadata.version("onnxruntime")}
    record: dict[str, Any] = {
        "processor": where.processor, "threads": given.threads, "date": where.date, "versions": versions,
        "rounds": given.rounds, "rows": [],
    }  # fmt: skip
    for name in given.networks:
        model, x = network(name)
        with torch.inference_mode():
            calls, deployed, refused = calls_of(model, x, given.threads)
            times = times_in_turns({key: wall(call) for key, call in calls.items()}, given.rounds, sample_ms=2.0)
        found = {key: {"median_ms": statistics.median(t), "least_ms": min(t)} for key, t in times.items()}
        parts = [part.one_call for part in deployed.report.planned]
        record["rows"].append({"network": name, "one_call": parts, "times": found, "refused": refused})
        given.out.write_text(json.dumps(record, indent=1) + "\n")
        words = ", ".join(f"{key} {t['median_ms']:.2f} (least {t['least_ms']:.2f})" for key, t in found.items())
        print(f"{time.strftime('%H:%M:%S')} {name}: {words} {refused or ''}", flush=True)


if __name__ == "__main__":
    main()
