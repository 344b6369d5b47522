"""The share of the processor's peak that each layer of 8 bits reaches, best of many short runs, one thread.

python benchmarks/int8_kernels.py out.json --seconds 0.3

A layer is timed as a step of a network: the difference between networks of one step more, so that neither Python nor
quantizing counts. VGG-16's layers on 32×32 images by default.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hetconv.ops import native
from hetconv.ops import network_steps as network
from hetconv.ops.arguments import Geometry
from hetconv.ops.native_network import Network
from hetconv.ops.network_steps import Affine, Int8Weights
from hetconv.pattern import HetPattern

VGG = [
    (64, 64, 32),
    (64, 128, 16),
    (128, 128, 16),
    (128, 256, 8),
    (256, 256, 8),
    (256, 512, 4),
    (512, 512, 4),
    (512, 512, 2),
]
REPEATS = 8
"""Times that a layer of as many channels as filters follows itself in one network; others run once."""


def best_seconds(call: Callable[[], object], seconds: float) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def network_of(pattern: HetPattern, repeats: int) -> Network:
    torch.manual_seed(0)
    of = Affine(0.02)
    steps = [network.quantize(0, of)]
    for _ in range(repeats):
        shapes = (pattern.spatial_shape, pattern.pointwise_shape)
        spatial, pointwise = (torch.randint(-127, 128, shape).to(torch.int8) for shape in shapes)
        weights = Int8Weights(pattern, spatial, pointwise, torch.full((pattern.out_channels,), 1e-3))
        bias = torch.zeros(pattern.out_channels)
        where = Geometry(padding=(pattern.kernel_hw[0] // 2, pattern.kernel_hw[1] // 2))
        steps.append(network.int8_convolution(len(steps), of, weights, bias, where, of, None, "relu"))
    steps.append(network.global_average(len(steps), of))
    return Network(pattern.in_channels, steps)


def layer_seconds(pattern: HetPattern, size: int, batch: int, seconds: float) -> float:
    x = torch.randn(batch, pattern.in_channels, size, size).contiguous(memory_format=torch.channels_last)
    square = pattern.in_channels == pattern.out_channels
    few, many = network_of(pattern, 1), network_of(pattern, 1 + REPEATS if square else 2) if square else None
    if many is not None:
        return (best_seconds(lambda: many(x), seconds) - best_seconds(lambda: few(x), seconds)) / REPEATS
    # quantizing and averaging included: such a layer does not fit after itself
    return best_seconds(lambda: few(x), seconds)


def peak(multiply_adds: Callable[[int], int], seconds: float) -> float:
    count = multiply_adds(20000)
    return count / best_seconds(lambda: multiply_adds(20000), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each layer")
    parser.add_argument("--batch-size", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    peaks = {
        "int8": peak(network.int8_multiply_adds, given.seconds),
        "float32": peak(native.multiply_adds, given.seconds),
    }
    print(native.instruction_set(), *(f"{name} {rate / 1e9:.0f} GMAC/s" for name, rate in peaks.items()))
    rows = []
    for p in (1, 4, 8, 16):
        for in_channels, out_channels, size in VGG:
            pattern = HetPattern(in_channels, out_channels, 3, p)
            seconds = layer_seconds(pattern, size, given.batch_size, given.seconds)
            rate = given.batch_size * size * size * pattern.macs_per_position / seconds
            rows.append({"p": p, "in": in_channels, "out": out_channels, "size": size, "us": 1e6 * seconds,
                         "share_of_peak": rate / peaks["int8"], "alone": in_channels == out_channels})  # fmt: skip
            share = rate / peaks["int8"]
            print(f"P{p} {in_channels}→{out_channels} {size}×{size}: {1e6 * seconds:.1f} µs, {share:.2f} of the peak")
    given.out.write_text(
        json.dumps({"instruction_set": native.instruction_set(), "peaks": peaks, "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
