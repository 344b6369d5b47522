"""The examples do their work on tiny settings."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import hetconv
from hetconv.deployment import choose
from hetconv.ops import native

ROOT = Path(__file__).parent.parent


def load(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "examples" / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(native.why_not_loaded() is not None, reason="no native kernels")
def test_a_network_is_made_faster_in_a_loop_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choose, "_measure", lambda work: choose.Times(1.0, 2.0))
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
    network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    out = tmp_path / "fast.safetensors"
    load("training_loop/make_faster.py").make_faster(network, ROOT / "tests/photos", out, epochs=1, size=32)
    said = capsys.readouterr().out
    assert all(step in said for step in ("your network: ", "with least squares: ", "trained on: ", "deployed: "))
    deployed = hetconv.load_deployed(out)
    assert deployed.class_names == tuple(sorted(folder.name for folder in (ROOT / "tests/photos/train").iterdir()))
    assert deployed.image_size == 32
    assert deployed(torch.randn(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.nightly
@pytest.mark.skipif(native.why_not_loaded() is not None, reason="no native kernels")
@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("make") is None, reason="no compiler")
def test_a_deployed_network_gives_the_same_numbers_in_cpp(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    command = [
        "make",
        "-C",
        str(ROOT / "examples/without_python"),
        "check",
        f"PYTHON={sys.executable}",
        f"OUT={tmp_path}",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "20 numbers" in done.stdout
