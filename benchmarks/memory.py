"""The most memory of a process that loads a deployed network and runs 20 images, in float32 and in 8 bits.

python benchmarks/memory.py benchmarks/results/memory.json
python benchmarks/memory.py                             the table in docs/speed.md, of the committed record

Each figure is the median of several fresh processes. Weights and images of calibration are random; memory does not
depend on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pages import RESULTS, ROOT, write_table

from hetconv.cost.circumstances import circumstances
from hetconv.deployment import Deployed, deploy
from hetconv.lab.models import create_model
from hetconv.table import Table

NETWORKS = (("vgg16_cifar", "het-p4", 32, 10), ("vgg16_cifar", "dense", 32, 10), ("resnet34", "het-p4", 224, 1000))
"""Model, variant, image size, classes."""
PRECISIONS = ("float32", "int8")
PROCESSES, CALIBRATION = 3, 32
RECORD = RESULTS / "memory.json"


def deployed(model: str, variant: str, size: int, classes: int, precision: str) -> Deployed:
    torch.manual_seed(0)
    made, x = create_model(model, variant, classes).eval(), torch.randn(CALIBRATION, 3, size, size)
    return deploy(made, x[:1], "int8", x, timed=False) if precision == "int8" else deploy(made, x[:1], timed=False)


def stages(size: int, *file: str) -> dict[str, int]:
    """The most bytes after each stage; medians over processes."""
    process = str(Path(__file__).with_name("memory_process.py"))
    command = (sys.executable, "-P", process, "3", str(size), str(size), *file)
    found = [json.loads(subprocess.check_output(command)) for _ in range(PROCESSES)]
    return {stage: int(statistics.median(one[stage] for one in found)) for stage in found[0]}


def measured(model: str, variant: str, size: int, classes: int, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"network": f"{model}:{variant}", "size": size}
    for precision in PRECISIONS:
        path = folder / f"{model}-{variant}-{precision}.safetensors"
        deployed(model, variant, size, classes, precision).save(path)
        row[precision] = {"file": path.stat().st_size, **stages(size, str(path))}
    return row


def beside(row: Mapping[str, Any], precision: str, stage: str) -> int:
    """Bytes beside what the process had held after an earlier stage."""
    found: int = row[precision]["run"] - row[precision][stage]
    return found


def table(record: Mapping[str, Any]) -> str:
    """Megabytes beside PyTorch and hetconv, and the ratios, also beside PyTorch alone, as Markdown."""
    rows = []
    for row in record["rows"]:
        own = {precision: beside(row, precision, "hetconv") for precision in PRECISIONS}
        all_of_it = {precision: beside(row, precision, "torch") for precision in PRECISIONS}
        name = row["network"].replace(":", " ")
        megabytes = [f"{found[precision] / 1e6:.1f}" for found in (own, all_of_it) for precision in PRECISIONS]
        ratios = [f"{found['int8'] / found['float32']:.2f}" for found in (own, all_of_it)]
        cells = [*megabytes[:2], ratios[0], *megabytes[2:], ratios[1]]
        rows.append((f"{name}, {row['size']}×{row['size']}", *cells))
    headings = ("network", "float32, MB", "8 bits, MB", "ratio", "float32 with hetconv, MB", "8 bits with hetconv, MB",
                "ratio with hetconv")  # fmt: skip
    versions = record["versions"]
    note = (
        f"{record['processor']}, batch 1, {record['threads']} thread, {record['date']}; torch {versions['torch']}, "
        f"which with one image takes {record['torch'] / 1e6:.0f} MB itself."
    )
    return Table.of_rows(headings, rows, (note,)).markdown()


def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORD.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    given = parser.parse_args()
    if given.out is None:
        write_table(ROOT / "docs/speed.md", "memory", table(committed()))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(*network, Path(folder)) for network in NETWORKS]
    where = circumstances(torch.device("cpu"), "float32, int8", "channels_last", 1, 1)
    record = {"processor": where.processor, "threads": 1, "date": where.date, "versions": where.versions,
              "processes": PROCESSES, "torch": stages(32)["torch"], "rows": rows}  # fmt: skip
    given.out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
