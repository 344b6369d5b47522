"""One kill in the suite, ten in the night; `benchmarks/kill_study.py` does as many as one likes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "kill_study.py"


@pytest.mark.skipif(not Path("/proc/self/stat").exists() or os.name != "posix", reason="finds processes in /proc")
@pytest.mark.parametrize("kills", ["1", pytest.param("10", marks=pytest.mark.nightly)])
def test_killed_at_random_moments_nothing_is_lost_or_done_twice(tmp_path: Path, kills: str) -> None:
    nothing_is_lost(tmp_path, "--kills", kills, "--epochs", "20", "--pause", "0", "2", "--seed", "1")


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_cluster_whose_own_processes_are_killed_too_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="no Ray: pip install 'hetconv[ray]'")
    nothing_is_lost(tmp_path, "--ray", "--kills", "5", "--epochs", "12", "--pause", "0", "2", "--seed", "1")


def nothing_is_lost(tmp_path: Path, *options: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    kills = options[options.index("--kills") + 1]
    assert done.stdout.startswith(f"{kills} kills in ")
    assert "nothing lost, twice or different" in done.stdout
    assert json.loads((tmp_path / "kills.json").read_text())["equal_bits"] is True
