"""A study on a Ray cluster of two nodes on this machine, one of whose processes or nodes dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from ...cli.holding import HOLDS, hold

ray = pytest.importorskip("ray", reason="no Ray: pip install 'hetconv[ray]'")
pytestmark = [
    pytest.mark.nightly,  # Ray is a large package, and starting three of its nodes takes half a minute
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]

TWO = """
name = "two"
networks = ["holds:Holds"]
variants = ["dense", "het-p2"]
seeds = [0]
data = "digits"
train_limit = 64
recipe = "fast"
threads = 1
latency_samples = 1
[recipes.fast]
epochs = 4
batch_size = 32
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, which lives on, and two nodes that do one run each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # as nice as the test, which waits for them
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "holds.py").write_text(HOLDS)
    (tmp_path / "two.toml").write_text(TWO)
    hold(tmp_path, 2)
    return tmp_path


def study(folder: Path, out: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "hetconv", "study", "run", "two.toml", "--out", out, *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def stored_by_both(folder: Path, driver: subprocess.Popen[bytes]) -> list[int]:
    """The processes of both runs, once both have stored their first epoch and stand still in the second."""
    while True:
        assert driver.poll() is None, driver.communicate()[1]
        leases = sorted(folder.glob("out/runs/*/*/attempts/1/lease.json"))
        if len(leases) == 2 and all((lease.parent / "run.json").exists() for lease in leases):
            return [json.loads(lease.read_text())["owner"]["pid"] for lease in leases]
        time.sleep(0.05)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def outcome(out: Path) -> object:
    """What must be the same in every bit."""
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("runs/*/*/run.json"))]
    epochs = [[{**epoch, "seconds": 0} for epoch in run["epochs"]] for run in runs]
    weights = [load_file(path) for path in sorted(out.glob("runs/*/*/checkpoint.safetensors"))]
    return epochs, [{name: tensor.tobytes() for name, tensor in one.items()} for one in weights]


@pytest.mark.parametrize("what", ["process", "node"])
def test_what_dies_with_a_process_or_a_node_is_done_elsewhere_to_the_same_bits(
    cluster: Any, folder: Path, what: str
) -> None:
    driver = study(folder, "out", "--ray", cluster.address)
    workers = stored_by_both(folder, driver)
    if what == "process":
        os.kill(workers[0], signal.SIGKILL)
    else:
        cluster.remove_node(
            next(node for node in cluster.worker_nodes if raylet(node) == parent(workers[0])), allow_graceful=False
        )
    (folder / "hold").unlink()
    _, error = driver.communicate()
    assert driver.returncode == 0, error
    alone = study(folder, "alone")
    _, error = alone.communicate()
    assert alone.returncode == 0, error
    assert outcome(folder / "out") == outcome(folder / "alone")
    assert len(outcome(folder / "out")[0]) == 2  # type: ignore[index]


def test_no_cluster_is_one_line(folder: Path) -> None:
    driver = study(folder, "out", "--ray", "127.0.0.1:1")
    _, error = driver.communicate()
    assert driver.returncode == 1, error
    assert b"cannot reach a Ray cluster at 127.0.0.1:1" in error
    assert b"Traceback" not in error
