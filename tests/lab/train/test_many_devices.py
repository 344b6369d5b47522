import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("two_processes.py")
needs_gloo = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="PyTorch was built without gloo")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script left of one process and of two."""
    out = tmp_path_factory.mktemp("processes")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, str(SCRIPT), str(out)]
    done = subprocess.run(command, env=os.environ | address, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


@needs_gloo
def test_two_processes_give_the_gradients_of_one(found: Path) -> None:
    """DDP on two halves of a batch with synchronized batch norm against one process with the whole, in float64.

    Budget: 2⁻⁵³ a rounding, some thousand in a row through 20 layers and back: 1e-10 of each tensor's largest value.
    """
    whole, *halves = (load_file(found / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    assert len(whole) > 60
    for half in halves:
        assert half.keys() == whole.keys()
        for name, expected in whole.items():
            scale = expected.abs().max().item()
            torch.testing.assert_close(half[name], expected, rtol=0, atol=1e-10 * max(scale, 1e-6), msg=name)


@needs_gloo
def test_two_processes_go_on_from_the_first_ones_checkpoint_to_the_same_bits(found: Path) -> None:
    undisturbed = load_file(found / "undisturbed-0.safetensors")
    for name in ("undisturbed-1", "resumed-0", "resumed-1"):
        for key, value in load_file(found / f"{name}.safetensors").items():
            assert torch.equal(value, undisturbed[key]), (name, key)
        assert (found / f"{name}.txt").read_text() == (found / "undisturbed-0.txt").read_text()
    assert (found / "rank-0").exists()
    assert not (found / "rank-1").exists()
