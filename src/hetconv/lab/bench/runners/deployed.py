"""The network as `hetconv.deploy` makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "hetconv deployed"
PACKAGES = {"torch": "2.11"}
PRECISIONS = ("float32", "int8")
FILE = "deployed.safetensors"


def prepare(folder: Path, threads: int) -> str:
    """Deploy it, choosing its kernels with as many threads as it will run with."""
    import torch

    from hetconv.deployment import deploy
    from hetconv.lab.bench.measured_network import Network

    network, model = Network.load(folder)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        int8 = network.precision == "int8"
        made = (
            deploy(model, network.example(), "int8", network.calibration(), timed=False)
            if int8
            else deploy(model, network.example(), timed=False)
        )
        made.save(folder / FILE)
    finally:
        torch.set_num_threads(before)
    return ""


def load(folder: Path, threads: int) -> Callable[[Any], Any]:
    import torch

    from hetconv.deployment import load_deployed

    torch.set_num_threads(threads)
    model = load_deployed(folder / FILE)

    def run(x: Any) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return run
