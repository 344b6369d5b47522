"""A few kills in the suite; `benchmarks/kill_study.py` does as many as one likes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "kill_study.py"


@pytest.mark.skipif(not Path("/proc/self/stat").exists() or os.name != "posix", reason="finds processes in /proc")
def test_killed_at_random_moments_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    options = ["--kills", "2", "--epochs", "20", "--pause", "0", "2", "--seed", "1"]
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("2 kills in ")
    assert "nothing lost, twice or different" in done.stdout
    assert json.loads((tmp_path / "kills.json").read_text())["equal_bits"] is True
