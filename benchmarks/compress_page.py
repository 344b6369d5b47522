"""Print the table of a comparison with compressed variants, and draw its two pictures.

python benchmarks/compress_page.py benchmarks/results/compress-cifar10.json docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hetconv.records import Results, load_record
from hetconv.report.figures import accuracy_against_time, accuracy_against_training_macs, save_picture
from hetconv.report.table import summarize
from hetconv.report.training_cost import training_macs, training_seconds


def lines(results: Results) -> list[str]:
    """The table in Markdown; time is given over the dense network's."""
    titles = ("variant", "accuracy %", "MACs, M", "parameters, k", "speed-up measured", "by count")
    titles += ("epochs", "training, T MACs", "training, s")
    found = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in summarize(results):
        run = next((r for r in results.runs if r.variant == row.variant and r.state == "done"), None)
        if run is None or row.accuracy is None or row.macs is None or row.params is None:
            continue
        spent, seconds = training_macs(results, row) or 0.0, training_seconds(results, row.variant) or 0.0
        cells = (
            row.variant, f"{100 * row.accuracy:.1f}", f"{row.macs / 1e6:.2f}", f"{row.params / 1e3:.0f}",
            f"{row.speedup_measured or 0:.2f}×", f"{row.speedup_theory or 0:.2f}×", str(len(run.epochs)),
            f"{spent / 1e12:.2f}", f"{seconds:.0f}",
        )  # fmt: skip
        found.append(f"| {' | '.join(cells)} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("pictures", type=Path)
    given = parser.parse_args()
    results = load_record(Results, given.results)
    print("\n".join(lines(results)))
    save_picture(accuracy_against_time(results), given.pictures / "compress-time.png")
    save_picture(accuracy_against_training_macs(results), given.pictures / "compress-training.png")


if __name__ == "__main__":
    main()
