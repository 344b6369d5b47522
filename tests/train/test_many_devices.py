import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("two_processes.py")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="PyTorch was built without gloo")
def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    """DDP on two halves of a batch with synchronized batch norm against one process with the whole, in float64.

    Budget: 2⁻⁵³ a rounding, some thousand in a row through 20 layers and back: 1e-10 of each tensor's largest value.
    """
    port = str(free_port())
    processes = [
        subprocess.Popen([sys.executable, SCRIPT, str(rank), str(world), port, tmp_path], stderr=subprocess.PIPE)
        for rank, world in ((0, 1), (0, 2), (1, 2))
    ]
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()
    whole, *halves = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    assert len(whole) > 60
    for half in halves:
        assert half.keys() == whole.keys()
        for name, expected in whole.items():
            scale = expected.abs().max().item()
            torch.testing.assert_close(half[name], expected, rtol=0, atol=1e-10 * max(scale, 1e-6), msg=name)
