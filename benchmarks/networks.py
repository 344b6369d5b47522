"""Whole networks in every runtime, from what `hetconv bench` recorded: figures against their bars, table, picture.

python benchmarks/networks.py benchmarks/results/emerald-bench-*-threads-1.json [--picture docs/images/networks.png]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hetconv.lab.report.axes import report_style
from hetconv.lab.report.palette import GRID, INK, MUTED, SERIES
from hetconv.lab.results import BenchEntry, BenchResults
from hetconv.records import load_record
from hetconv.table import NOTHING, Table

OURS = ("hetconv deployed", "ONNX Runtime, native")
WINOGRAD = ("ncnn",)
"""Runtimes whose dense 3×3 convolutions are computed by Winograd's algorithm."""
TITLES = {
    "vgg16_cifar": "VGG-16",
    "vgg16_features": "VGG-16's convolutions",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
}


def title(results: BenchResults) -> str:
    """VGG-16, 32×32"""
    return f"{TITLES.get(results.network, results.network)}, {'×'.join(map(str, results.input_size[1:]))}"


@dataclass(frozen=True)
class Figure:
    """A ratio that was wanted, and what was measured."""

    what: str
    threads: int
    found: float
    bar: float
    aim: float
    between: str

    @property
    def row(self) -> tuple[str, ...]:
        word = "reached" if self.found >= self.bar else "missed"
        return (
            self.what, str(self.threads), f"{self.found:.2f}", f"{self.bar:g}", f"{self.aim:g}", word, self.between,
        )  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Which ratio: a variant in the fastest of our ways, over a variant in the fastest of others."""

    network: str
    what: str
    variant: str
    over: str
    others: Callable[[str], bool]
    bar: float
    aim: float


def _not_ours(runtime: str) -> bool:
    return runtime not in OURS


def _direct(runtime: str) -> bool:
    return runtime not in (*OURS, *WINOGRAD)


def _winograd(runtime: str) -> bool:
    return runtime in WINOGRAD


WANTED = (
    Wanted("vgg16_cifar", "VGG-16, 32×32, P4, over the fastest dense", "het-p4", "dense", _not_ours, 3.0, 3.5),
    Wanted("vgg16_cifar", "the same, over the fastest other way to run it", "het-p4", "het-p4", _not_ours, 1.4, 1.8),
    Wanted("vgg16_cifar", "VGG-16, 32×32, P8, over the fastest dense", "het-p8", "dense", _not_ours, 4.5, 5.5),
    Wanted("resnet34", "ResNet-34, 224×224, P4, over dense, no Winograd", "het-p4", "dense", _direct, 2.4, 2.8),
    Wanted("resnet34", "the same, over Winograd's dense", "het-p4", "dense", _winograd, 1.7, 2.2),
    Wanted("vgg16_features", "VGG-16's convolutions, P8, over Winograd", "het-p8", "dense", _winograd, 1.5, 2.2),
    Wanted("resnet50", "ResNet-50, 224×224, P4, over the fastest dense", "het-p4", "dense", _not_ours, 1.25, 1.4),
)  # fmt: skip


def milliseconds(entry: BenchEntry) -> float:
    return float("inf") if entry.latency is None else entry.latency.median_ms


def figures(results: BenchResults) -> Iterable[Figure]:
    """The ratios that were wanted of this network, where both sides were measured."""
    for wanted in WANTED:
        ours = _fastest(results, wanted.variant, lambda runtime: runtime in OURS)
        other = _fastest(results, wanted.over, wanted.others)
        if wanted.network == results.network and ours is not None and other is not None:
            ratio = milliseconds(other) / milliseconds(ours)
            between = f"{_told(ours)} over {_told(other)}"
            yield Figure(wanted.what, results.circumstances.threads, ratio, wanted.bar, wanted.aim, between)


def _fastest(results: BenchResults, variant: str, runtimes: Callable[[str], bool]) -> BenchEntry | None:
    entries = [e for e in results.entries if e.variant == variant and e.latency is not None and runtimes(e.runtime)]
    return min(entries, key=milliseconds, default=None)


def _told(entry: BenchEntry) -> str:
    return f"{milliseconds(entry):.1f} ms ({entry.runtime})"


def memory(results: BenchResults) -> Iterable[tuple[str, float, float]]:
    """(variant, peak of the deployed network's process, of eager PyTorch's), in MB."""
    peaks = {(e.runtime, e.variant): e.peak_bytes / 1e6 for e in results.entries if e.peak_bytes}
    for variant in results.variants:
        if (OURS[0], variant) in peaks and ("PyTorch", variant) in peaks:
            yield variant, peaks[OURS[0], variant], peaks["PyTorch", variant]


CELLS: dict[str, Callable[[BenchEntry], str]] = {
    "milliseconds": lambda entry: f"{milliseconds(entry):.1f}",
    "first output, ms": lambda entry: NOTHING if entry.cold_start_ms is None else f"{entry.cold_start_ms:.0f}",
    "memory, MB": lambda entry: f"{entry.peak_bytes / 1e6:.0f}" if entry.peak_bytes else NOTHING,
    "error": lambda entry: NOTHING if entry.error is None else f"{entry.error:.0e}",
}
"""What the tables show: the median; from starting a process to its first output; the most memory it had held by then;
how far that output was from the network's own in float64, over the largest."""


def grid(every: Sequence[BenchResults], what: str) -> Table:
    """One row a runtime, one column a network's variant."""
    columns = [(results, variant) for results in every for variant in results.variants]
    head = [f"{title(results)}, {variant}" for results, variant in columns]
    rows = []
    for runtime in dict.fromkeys(entry.runtime for results in every for entry in results.entries):
        cells = []
        for results, variant in columns:
            found = next((e for e in results.entries if (e.runtime, e.variant) == (runtime, variant)), None)
            cells.append(NOTHING if found is None or found.latency is None else CELLS[what](found))
        rows.append((runtime, *cells))
    return Table.of_rows((what, *head), rows)


def page(every: Sequence[BenchResults]) -> str:
    """All tables, as Markdown."""
    wanted = [figure.row for results in every for figure in figures(results)]
    peaks = [
        (
            f"{title(results)}, {variant}",
            str(results.circumstances.threads),
            f"{ours:.0f}",
            f"{eager:.0f}",
            f"{ours / eager:.2f}",
        )
        for results in every
        for variant, ours, eager in memory(results)
    ]
    lines = [
        Table.of_rows(("one interleaved run, float32", "threads", "found", "bar", "aim", "", "between"), wanted),
        Table.of_rows(("peak memory, MB", "threads", "deployed", "eager", "ratio"), peaks),
    ]
    lines = [table.markdown() for table in lines]
    for threads in sorted({results.circumstances.threads for results in every}):
        alike = [results for results in every if results.circumstances.threads == threads]
        at = alike[0].circumstances
        lines += [f"{threads} thread(s), batch {at.batch_size}, {at.processor}, {at.date}:\n"]
        lines += [grid(alike, what).markdown() for what in CELLS]
    return "\n".join(lines)


def draw(every: Sequence[BenchResults], path: Path) -> None:
    """One panel a network, one bar a runtime and variant; runtimes in the order of the records."""
    from matplotlib.figure import Figure as Picture

    runtimes = list(dict.fromkeys(entry.runtime for results in every for entry in results.entries))
    variants = list(dict.fromkeys(variant for results in every for variant in results.variants))
    with report_style():
        picture = Picture(figsize=(2.9 * len(every) + 1.5, 0.9 + 0.62 * len(runtimes)), layout="constrained")
        panels = picture.subplots(1, len(every), sharey=True, squeeze=False)[0]
        for axes, results in zip(panels, every, strict=True):
            for entry in results.entries:
                if entry.latency is None:
                    continue
                slot, of = variants.index(entry.variant), len(results.variants)
                y = runtimes.index(entry.runtime) + (results.variants.index(entry.variant) - (of - 1) / 2) / (
                    len(variants) + 1
                )
                axes.barh(y, milliseconds(entry), 0.85 / (len(variants) + 1), color=SERIES[slot % len(SERIES)][1])
                axes.annotate(
                    f"{milliseconds(entry):.1f}", (milliseconds(entry), y), xytext=(3, 0), textcoords="offset points",
                    va="center", fontsize=7, color=MUTED[1],
                )  # fmt: skip
            axes.set_title(title(results), loc="left", fontsize=9.5, color=INK[1])
            axes.set_xlabel(f"median time, batch {results.circumstances.batch_size}, ms", loc="right")
            axes.margins(x=0.14)
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_color(GRID[1])
        panels[0].set_yticks(range(len(runtimes)), runtimes, color=INK[1])
        panels[0].set_ylim(len(runtimes) - 0.5, -0.5)
        handles = [axes.barh(0, 0, color=SERIES[slot % len(SERIES)][1]) for slot in range(len(variants))]
        picture.legend(
            handles, variants, loc="outside upper right", ncols=len(variants), frameon=False, fontsize=8.5
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.savefig(path, dpi=160, facecolor="white", metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--picture", type=Path, help="of the records of the fewest threads")
    given = parser.parse_args()
    order = list(TITLES)
    every = sorted(
        (load_record(BenchResults, path) for path in given.records),
        key=lambda results: (order.index(results.network), results.circumstances.threads),
    )
    print(page(every), end="")
    if given.picture is not None:
        fewest = min(results.circumstances.threads for results in every)
        draw([results for results in every if results.circumstances.threads == fewest], given.picture)


if __name__ == "__main__":
    main()
