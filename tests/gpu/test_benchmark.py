"""The GPU benchmark refuses in one line where there is no GPU, and its table says what failed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_refuses_without_a_gpu(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--out", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True)
    line = "there is no CUDA device here; --smoke runs the same on the CPU, its times without meaning"
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (1, "", line)
    assert not (tmp_path / "rows.jsonl").exists()


def test_table(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gpu_table import table

    layer = {
        "kind": "layer", "network": "resnet", "in_channels": 256, "out_channels": 256, "size": 14, "stride": 1,
        "training": False, "latency_ms": {"dense": 2.0, "grouped p4": 3.0, "het p4": 1.25, "packed p4": 1.0},
        "floor_ms": {"p4": 0.5},
    }  # fmt: skip
    lines = table([layer, {"kind": "failed", "title": "this", "error": "ValueError: x"}]).splitlines()
    assert "bf16 forward, M ≥ 128, P4, over dense: 2.00, 1.8, 2.5" in lines
    assert "forward over grouped + 1×1, least: 3.00, 1.0," in lines
    assert "fraction of the floor, M ≥ 256: 0.50, 0.5, 0.75" in lines
    assert "FAILED this: ValueError: x" in lines
