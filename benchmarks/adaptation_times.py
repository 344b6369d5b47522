"""How long adapting takes: `plan` on ResNet-50 and `refit_` on ResNet-18, with photographs of 224×224.

python benchmarks/adaptation_times.py plan --photographs folder
python benchmarks/adaptation_times.py refit --photographs folder
python benchmarks/adaptation_times.py                   the table in docs/adapting.md, of the committed record

Weights are as they are made, with batch norm statistics of photographs. Seconds of the clock are true where nothing
else runs on the machine; the processor's own seconds stand beside them, and are the larger part of them everywhere.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pages import RESULTS, ROOT, write_table
from text_photographs import normalized, photographs, without_text
from torch import Tensor, nn

from hetconv import convert_, plan, refit_
from hetconv.cost.circumstances import circumstances
from hetconv.files import write_atomically
from hetconv.lab.models import create_model
from hetconv.records import adapter
from hetconv.table import Table

RECORD = RESULTS / "adaptation-times.json"
SIZE = (224, 224)
SPEEDUP, PLANNED = 1.5, 64
P, REFITTED = 4, 500


def network(name: str, images: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(name).train()
    with torch.no_grad():
        model(images[:16])  # batch norm statistics
    return model.eval()


def planned(images: Tensor) -> dict[str, Any]:
    model = network("resnet50", images)
    start, cpu = time.perf_counter(), time.process_time()
    found = plan(model, images[:1], images=images, speedup=SPEEDUP, told=lambda line: print(line, flush=True))
    return {
        "what": f"`plan` on ResNet-50, {SPEEDUP:g} times", "images": len(images),
        "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu, "end": found.verdict,
    }  # fmt: skip


def refitted(images: Tensor) -> dict[str, Any]:
    model = network("resnet18", images)
    converted = copy.deepcopy(model)
    convert_(converted, P)
    start, cpu = time.perf_counter(), time.process_time()
    report = refit_(converted, model, images, told=lambda layer: print(layer.name, flush=True))
    return {
        "what": f"`refit_` of ResNet-18, P{P} everywhere", "images": len(images),
        "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
        "end": f"output error {report.error_before:.3f} → {report.error_after:.3f}",
    }  # fmt: skip


MEASURES = {"plan": (planned, PLANNED), "refit": (refitted, REFITTED)}


def table(record: Mapping[str, Any]) -> str:
    rows = [
        (one["what"], str(one["images"]), str(one["circumstances"]["threads"]), f"{one['seconds'] / 60:.1f}",
         f"{one['cpu_seconds'] / 60:.1f}")
        for one in record.values()
    ]  # fmt: skip
    headings = ("", "photographs", "threads", "minutes", "of the processor alone")
    return Table.of_rows(headings, rows).markdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*MEASURES, "table"), nargs="?", default="table")
    parser.add_argument("--photographs", type=Path, help="a folder with .jpg files, in folders of it too")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if args.what == "table":
        write_table(ROOT / "docs/adapting.md", "times", table(record))
        return
    torch.set_num_threads(args.threads)
    measure, count = MEASURES[args.what]
    images = normalized(without_text(photographs(args.photographs)[:count], SIZE))
    at = circumstances(torch.device("cpu"), "float32", "channels_last", 1, args.threads)
    found = measure(images)
    record[args.what] = {**found, "circumstances": adapter(type(at)).dump_python(at, mode="json")}
    write_atomically(RECORD, json.dumps(record, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
