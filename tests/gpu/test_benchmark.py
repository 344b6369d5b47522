"""The GPU benchmark refuses in one line where there is no GPU, and its table says what failed."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

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
        "floor_ms": {"p4": 0.5}, "failed": {"het p8": "ValueError: off"}, "title": "a layer",
    }  # fmt: skip
    step = {
        "kind": "network", "network": "vgg16_cifar", "size": 32, "batch": 512, "training": True, "title": "a step",
        "latency_ms": {"dense": 8.0, "het-p4": 5.0}, "graphed_ms": {"dense": 6.0, "het-p4": 3.0}, "failed": {},
    }  # fmt: skip
    rows = [layer, step, {"kind": "failed", "title": "this", "error": "ValueError: x"}]
    lines = table(rows).splitlines()
    assert "bf16 forward, M ≥ 128, P4, over dense: 2.00, 1.8, 2.5" in lines
    assert "forward over grouped + 1×1, least: 3.00, 1.0," in lines
    assert "fraction of the floor, M ≥ 256: 0.50, 0.5, 0.75" in lines
    assert "training step of VGG-16 at 32, P4, over dense: 1.60, 1.5, 2.2" in lines
    assert "training step of VGG-16 at 32, P4, over dense, both as CUDA graphs: 2.00, 1.5, 2.2" in lines
    assert "FAILED a layer, het p8: ValueError: off" in lines
    assert "FAILED this: ValueError: x" in lines
    layer["latency_ms"], layer["floor_ms"] = {"packed p4": 1.0}, {"p4": None}  # whatever fails, there is a table
    step["latency_ms"], step["graphed_ms"] = {}, {}
    lines = table(rows).splitlines()
    assert "resnet 256→256 14                   no base  packed p4 1.0000 ms" in lines
    assert "bf16 forward, M ≥ 128, P4, over dense: nan, 1.8, 2.5" in lines


def test_a_wrong_variant_costs_itself_only(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_layers
    from gpu_plan import plan

    def compared(layer, x):
        if layer.p == 8:
            raise ValueError("off")

    monkeypatch.setattr(gpu_layers, "compare", compared)
    todo = plan(True, 1.0, torch.float32)
    row = gpu_layers.layer_row(todo.shapes[0], False, todo, {})
    assert row["failed"] == {"het p8": "ValueError: off"}
    others = {"dense", "dwc-pwc", "grouped p4", "grouped p8", "het p4", "packed p4", "shifted p4"}
    assert row["latency_ms"].keys() == others
    assert row["floor_ms"] == {"p4": None, "p8": None}


def test_half_a_row_costs_itself_only(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gpu import keep, known_ceilings, rows_of

    (tmp_path / "rows").write_text('{"kind": "ceilings", "copy_gb_per_s": 3.0, "n": 1}\n{"kind": "lay')
    keep({"kind": "x"}, SimpleNamespace(out=tmp_path / "rows", dtype="bfloat16"))
    assert [row["kind"] for row in rows_of(tmp_path / "rows")] == ["ceilings", "x"]
    assert known_ceilings(tmp_path / "rows") == {"copy_gb_per_s": 3.0}
    (tmp_path / "rows").write_text("")
    assert known_ceilings(tmp_path / "rows") == {}


JOBS = """
import os, sys, time
sys.path.insert(0, sys.argv[2])
from survive import begins, done
for i, title in enumerate(["fine", "ends its process", "blocks", "fine again"]):
    if i < int(sys.argv[1]):
        continue
    begins(i, title)
    if i == 1:
        os._exit(3)
    if i == 2:
        time.sleep(60)
    print("said by", title, flush=True)
    done(i)
"""


def test_jobs_go_on_behind_one_that_ends_or_blocks_its_process(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from survive import run_jobs

    failed = []

    def command(first):
        return [sys.executable, "-S", "-c", JOBS, str(first), str(BENCHMARKS)]

    run_jobs(command, 2.0, time.time() + 600, lambda *why: failed.append(why))
    assert failed == [
        ("ends its process", "the process ended with status 3"),
        ("blocks", "nothing was heard of it for 2 s"),
    ]
    assert capsys.readouterr().out.splitlines() == ["said by fine", "said by fine again"]
    failed.clear()
    run_jobs(lambda _: [sys.executable, "-S", "-c", "1/0"], 60.0, time.time() + 60, lambda *why: failed.append(why))
    assert failed == [("before the first job", "the process ended with status 1")]
    failed.clear()
    run_jobs(lambda _: command(2), 1.0, time.time() - 0.9, lambda *why: failed.append(why))
    assert failed in ([("blocks", "time was over")], [("before the first job", "time was over")])
