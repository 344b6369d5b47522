"""What it costs that a layer in evaluation mode looks at its weights at each call, beside the same layer packed once.

python benchmarks/kept_weights.py --out benchmarks/results/kept-weights.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from measure import measure

from hetconv import HetConv2d, pack
from hetconv.cost.circumstances import circumstances
from hetconv.ops.native import hash_of, instruction_set

SHAPES = ((64, 56), (128, 28), (256, 14), (512, 7), (512, 4))
"""Channels and image size."""
PARTS = (1, 4, 16)


def record(channels: int, size: int, p: int, rounds: int) -> dict[str, object]:
    """Milliseconds of the layer, of its packed form, and of the hash alone; values are compared first."""
    layer = HetConv2d(channels, channels, 3, padding=1, p=p).eval()
    x = torch.randn(1, channels, size, size).contiguous(memory_format=torch.channels_last)
    packed = pack(layer, size=(1, size, size))
    weights = (layer.weight_spatial, layer.weight_pointwise)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), packed(x))
        calls = {"layer": lambda: layer(x), "packed": lambda: packed(x), "hash": lambda: [*map(hash_of, weights)]}
        times = measure(calls, [1], rounds)[1]
    return {"channels": channels, "size": size, "p": p, "kib": 4 * layer.pattern.weights / 1024, **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    where = circumstances(torch.device("cpu"), "float32", "channels_last", 1, 1)
    with given.out.open("w") as file:
        for channels, size in SHAPES:
            for p in PARTS:
                row = record(channels, size, p, given.rounds)
                print(row, flush=True)
                row |= {"instruction_set": instruction_set(), "circumstances": vars(where)}
                file.write(json.dumps(row, default=str) + "\n")


if __name__ == "__main__":
    main()
