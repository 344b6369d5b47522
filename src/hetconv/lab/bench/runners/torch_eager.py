"""PyTorch as it is, in the faster of its two memory formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "PyTorch"
PACKAGES = {"torch": "2.11"}
FORMAT = "format.txt"
ROUNDS = 5


def prepare(folder: Path, threads: int) -> str:
    """Find the faster memory format."""
    from hetconv.cost import latency

    network, model = _network(folder)
    measured = {
        name: latency({name: model}, network.example(), threads=threads, samples=ROUNDS, memory_format=name).latencies[
            name
        ]
        for name in ("channels_last", "contiguous")
    }
    fastest = min(measured, key=lambda name: measured[name].median_ms)
    (folder / FORMAT).write_text(fastest)
    return fastest.replace("_", " ")


def load(folder: Path, threads: int) -> Callable[[Any], Any]:
    import torch

    torch.set_num_threads(threads)
    _, model = _network(folder)
    layout = torch.channels_last if (folder / FORMAT).read_text() == "channels_last" else torch.contiguous_format
    model = model.to(memory_format=layout)

    def run(x: Any) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x).to(memory_format=layout)).numpy()

    return run


def _network(folder: Path) -> Any:
    from hetconv.lab.bench.measured_network import Network

    return Network.load(folder)
