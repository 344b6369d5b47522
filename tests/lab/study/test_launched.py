"""A study under a launcher: two processes train each of its runs together."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hetconv.errors import HetconvError, UsageError
from hetconv.lab.settings import parse_definition
from hetconv.lab.study import Team, join_study, open_study, statuses, world_size
from hetconv.lab.study.team import together

TINY = """
name = "tiny"
networks = ["vgg16_cifar"]
width = 0.125
variants = ["dense", "het-p2"]
seeds = [0]
data = "digits"
train_limit = 64
recipe = "fast"
threads = 1
latency_samples = 1
[recipes.fast]
epochs = 2
batch_size = 32
mixed_precision = "bf16"
"""


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="PyTorch was built without gloo")
def test_two_processes_do_each_run_and_one_of_them_writes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    open_study(parse_definition(TINY, "tiny.toml"), out)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [*launch, "hetconv", "study", "worker", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    study = join_study(out)
    assert [status.state for status in statuses(study.definition, out).values()] == ["done", "done"]
    for found in study.results().networks[0].runs:
        assert [epoch.epoch for epoch in found.epochs] == [1, 2]
        assert 0.05 < found.epochs[-1].accuracy <= 1


def test_alone_a_process_is_its_own_team() -> None:
    assert Team().leads
    assert Team().share("what") == "what"


def test_a_process_that_is_gone_is_told_in_one_line() -> None:
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:26539: Connection reset by peer\nat …")
    with pytest.raises(HetconvError, match=r"is gone \(\[gloo.*peer\); start the launcher again"), together():
        raise lost
    other = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as caught, together():
        raise other
    assert caught.value is other


@pytest.mark.parametrize("wrong", ["x", "", "0", "-2"])
def test_a_wrong_number_of_processes_is_one_line(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", wrong)
    with pytest.raises(UsageError, match=f"WORLD_SIZE='{wrong}' must be a whole number of at least 1"):
        world_size()
