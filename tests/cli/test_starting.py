import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hetconv

SLOW = """
import time
from pathlib import Path
Path("loading").touch()
time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_pytorch_is_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), str(Path(hetconv.__file__).parents[1])])
    process = subprocess.Popen(
        [sys.executable, "-m", "hetconv", "profile", "resnet20_cifar"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "loading").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error == "hetconv: stopped; nothing was written\n"
