"""Draw speed-up over PyTorch's dense convolution against P, with the theory's line.

python benchmarks/picture.py results.jsonl docs/images/speedup.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
from shapes import PARTS, theory
from table import Record, mean, speedup

SERIES = (
    ("packed", "HetConv, weights packed", "#0072b2", "o"),
    ("grouped", "grouped + 1×1 in PyTorch", "#d55e00", "s"),
)


def lines(records: list[Record], batch: int) -> dict[str, list[float]]:
    """For each series the geometric mean over shapes of its speed-up over the faster dense, one value for each P."""
    chosen = [r for r in records if r["batch"] == batch and r["threads"] == 1 and not r["training"]]
    return {name: [mean(speedup(r, name, p, "dense") for r in chosen) for p in PARTS] for name, *_ in SERIES}


def draw(records: list[Record], path: Path) -> None:
    batches = sorted({record["batch"] for record in records})
    figure, panels = plt.subplots(1, len(batches), figsize=(4.6 * len(batches), 3.6), sharey=True, squeeze=False)
    for axes, batch in zip(panels[0], batches, strict=True):
        axes.plot(PARTS, [theory(p) for p in PARTS], color="#555555", linestyle="--", label="theory, 9/(1 + 8/P)")
        for name, values in lines(records, batch).items():
            _, label, colour, marker = next(series for series in SERIES if series[0] == name)
            axes.plot(PARTS, values, color=colour, marker=marker, markersize=5, label=label)
        axes.axhline(1, color="#bbbbbb", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(PARTS, [str(p) for p in PARTS])
        axes.set_xlabel("P")
        axes.set_title(f"batch {batch}", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("times as fast as dense")
    panels[0][0].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    draw([json.loads(line) for line in given.results.read_text().splitlines()], given.picture)


if __name__ == "__main__":
    main()
