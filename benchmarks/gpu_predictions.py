"""What the halo kernel should take on an H200-class GPU, on paper: a table that a measurement can refute.

python benchmarks/gpu_predictions.py

Assumed: 132 processors at 1.7 GHz, 2048 multiply-adds a cycle of a processor's matrix units (989 TFLOP/s at the boost
clock), of which matrix products reach 700 TFLOP/s; 4 TB/s of memory; 5.5 TB/s from L2; 128 bytes a cycle of a
processor's shared memory; 150 cycles for the barrier of a step, and 24 instructions for every two sums at a tile's end,
which no product hides unless two blocks of threads share a processor.
"""

from __future__ import annotations

from dataclasses import dataclass

from hetconv.ops.gpu.configurations import LEAST_FILTERS
from hetconv.ops.gpu.halo.tile import TAPS, HaloConfiguration, Positions, halo_candidates, positions_of
from hetconv.ops.gpu.rows import PackedRows, merge_for

PROCESSORS, GHZ, MACS_A_CYCLE = 132, 1.7, 2048
TFLOPS, MEMORY_TB, L2_TB, SHARED_BYTES_A_CYCLE, STEP_CYCLES, END_CYCLES = 700, 4.0, 5.5, 128, 150, 24 / 2 / 128
SHAPES = (
    (64, 56),
    (64, 224),
    (128, 28),
    (128, 56),
    (128, 112),
    (256, 14),
    (256, 28),
    (256, 56),
    (512, 7),
    (512, 14),
    (512, 28),
)
BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """Milliseconds of one launch: what each resource needs at least; in all, with steps, ends and the last turn."""

    floor: float
    matrix: float
    l2: float
    shared: float
    total: float


def predict(channels: int, size: int, rows: PackedRows, at: Positions, one: HaloConfiguration) -> Prediction:
    tiles = -(-BATCH * at.strips * at.strip_positions // one.positions) * (channels // one.filters)
    steps = channels // one.block
    own_steps = one.filters // one.ring_filters * rows.own // one.block
    rounds = one.positions // 64 * one.block // 16

    def products(count: int, filters: int) -> tuple[float, float]:
        return count * filters / 2, count * (2048 + 32 * filters) / SHARED_BYTES_A_CYCLE

    pointwise, ring = products(steps * rounds, one.filters), products(own_steps * TAPS * rounds, one.ring_filters)
    brought = (
        2 * one.block * (steps * (one.positions + at.reach((1, 1)) + one.filters) + own_steps * TAPS * one.ring_filters)
    )
    stored = 2 * one.positions * one.filters
    matrix, read = pointwise[0] + ring[0], pointwise[1] + ring[1]
    shared = read + (brought + 2 * stored) / SHARED_BYTES_A_CYCLE
    l2 = (brought + stored) / (1000 * L2_TB / PROCESSORS / GHZ)
    busy = max(max(pointwise) + max(ring), brought / (1000 * L2_TB / PROCESSORS / GHZ), shared)
    ends = END_CYCLES * one.positions * one.filters
    tile = busy + steps * STEP_CYCLES / one.resident + ends / one.resident
    turns = -(-tiles // PROCESSORS)
    ms = 1e-6 / GHZ
    flop, moved = 2e-9 * BATCH * size**2 * channels**2 * (1 + 8 / rows.p), 4e-9 * BATCH * size**2 * channels
    floor = max(flop / TFLOPS, moved / MEMORY_TB)
    share = tiles / PROCESSORS * ms
    return Prediction(floor, matrix * share, l2 * share, shared * share, max(turns * tile * ms, moved / MEMORY_TB))


def main() -> None:
    gains: dict[int, list[float]] = {4: [], 8: []}
    print(
        "| layer | P | floor | matrix units | L2 | shared memory | predicted | floor / predicted | over dense | tile |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for channels, size in SHAPES:
        for p in (4, 8):
            rows = PackedRows(channels, channels, p, 9, merge_for(p, channels // p, LEAST_FILTERS), 64)
            at = positions_of((size, size), (size, size), (1, 1), (1, 1))
            found = [(predict(channels, size, rows, at, one), one) for one in halo_candidates(rows, at, (1, 1), (1, 1))]
            best, one = min(found, key=lambda pair: pair[0].total)
            dense = max(18e-9 * BATCH * size**2 * channels**2 / TFLOPS, 4e-9 * BATCH * size**2 * channels / MEMORY_TB)
            times = (best.floor, best.matrix, best.l2, best.shared, best.total)
            if channels >= 128:
                gains[p].append(dense / best.total)
            tile = f"{one.positions}×{one.filters}, rings of {one.ring_filters}"
            cells = [f"{channels}→{channels}, {size}×{size}", str(p), *(f"{t:.3f}" for t in times)]
            print(f"| {' | '.join([*cells, f'{best.floor / best.total:.2f}', f'{dense / best.total:.1f}', tile])} |")
    for p, over in gains.items():
        print(f"P{p}, M ≥ 128, over dense, mean: {sum(over) / len(over):.2f}")


if __name__ == "__main__":
    main()
