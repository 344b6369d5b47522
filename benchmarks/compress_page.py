"""Print the tables of the page on compressing, and draw its pictures.

python benchmarks/compress_page.py benchmarks/results docs/images

Of comparisons with compressed variants (compress-cifar10*.json), of 8 bits against float32 in the same runtime
(int8-vgg16*.json) and of one layer changed at a time (sensitivity-cifar10.json); what is not there is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from rich.console import Console

from hetconv.records import BenchResults, Results, SensitivityResults, load_record
from hetconv.report.figures import accuracy_against_time, accuracy_against_training_macs, save_picture
from hetconv.report.sensitivity import print_sensitivity, sensitivity_charts
from hetconv.report.table import summarize
from hetconv.report.training_cost import training_macs
from hetconv.statistics.runs import training_seconds

BASE = "onnxruntime"


def lines(results: Results) -> list[str]:
    """The table in Markdown; time is given over the dense network's."""
    titles = ("variant", "accuracy %", "MACs, M", "parameters, k", "speed-up measured", "by count")
    titles += ("epochs", "training, T MACs", "training, s")
    found = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in summarize(results):
        run = next((r for r in results.runs if r.variant == row.variant and r.state == "done"), None)
        if run is None or row.accuracy is None or row.macs is None or row.params is None:
            continue
        spent = training_macs(results, row) or 0.0
        seconds = mean(training_seconds(results, row.variant).values() or [0.0])
        cells = (
            row.variant, f"{100 * row.accuracy:.1f}", f"{row.macs / 1e6:.2f}", f"{row.params / 1e3:.0f}",
            f"{row.speedup_measured or 0:.2f}×", f"{row.speedup_theory or 0:.2f}×", str(len(run.epochs)),
            f"{spent / 1e12:.2f}", f"{seconds:.0f}",
        )  # fmt: skip
        found.append(f"| {' | '.join(cells)} |")
    return found


def runtime_lines(results: BenchResults) -> list[str]:
    """8 bits and float32 by runtime, over ONNX Runtime's float32 of the same network."""
    found = ["| network | runtime | ms | p20–p80 | over its float32 in ONNX Runtime | off by |", "|---" * 6 + "|"]
    times = {(entry.runtime, entry.variant): entry.latency for entry in results.entries}
    for entry in results.entries:
        base, time = times[BASE, entry.variant], entry.latency
        if time is None or base is None:
            found.append(f"| {entry.variant} | {entry.runtime} | – | – | {entry.reason} | – |")
            continue
        ratio, error = base.median_ms / time.median_ms, entry.error or 0.0
        cells = (
            entry.variant, f"{entry.runtime}, {entry.remark}", f"{time.median_ms:.2f}",
            f"{time.p20_ms:.2f}–{time.p80_ms:.2f}", f"{ratio:.2f}×", f"{error:.1g}",
        )  # fmt: skip
        found.append(f"| {' | '.join(cells)} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("pictures", type=Path)
    given = parser.parse_args()
    for path in sorted(given.results.glob("compress-cifar10*.json")):
        results, kind = load_record(Results, path), path.stem.replace("-cifar10", "")
        print(f"\n{results.settings.network} ({path.name})\n")
        print("\n".join(lines(results)))
        save_picture(accuracy_against_time(results), given.pictures / f"{kind}-time.png")
        save_picture(accuracy_against_training_macs(results), given.pictures / f"{kind}-training.png")
    for path in sorted(given.results.glob("int8-vgg16*.json")):
        bench = load_record(BenchResults, path)
        print(f"\n{bench.network} × {bench.width:g}, batch {bench.circumstances.batch_size} ({path.name})\n")
        print("\n".join(runtime_lines(bench)))
    probed = given.results / "sensitivity-cifar10.json"
    if probed.exists():
        found = load_record(SensitivityResults, probed)
        print_sensitivity(found, Console(width=110))
        for chart in sensitivity_charts(found):
            save_picture(chart, given.pictures / f"{chart.name}.png")


if __name__ == "__main__":
    main()
