"""torch.compile, in the faster memory format of eager PyTorch; compiled afresh in every process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "torch.compile"
PACKAGES = {"torch": "2.11"}


def prepare(folder: Path, threads: int) -> str:
    from hetconv.lab.bench.runners import torch_eager

    return torch_eager.prepare(folder, threads)


def load(folder: Path, threads: int) -> Callable[[Any], Any]:
    import torch
    import torch._inductor.config

    from hetconv.lab.bench.measured_network import Network
    from hetconv.lab.bench.runners.torch_eager import FORMAT

    torch._inductor.config.force_disable_caches = True
    torch.set_num_threads(threads)
    _, model = Network.load(folder)
    layout = torch.channels_last if (folder / FORMAT).read_text() == "channels_last" else torch.contiguous_format
    compiled = torch.compile(model.to(memory_format=layout))

    def run(x: Any) -> Any:
        with torch.inference_mode():
            return compiled(torch.from_numpy(x).to(memory_format=layout)).numpy()

    return run
