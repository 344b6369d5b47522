"""Without a GPU the kernels' tests run in Triton's interpreter, which must be chosen before Triton is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import DEVICE, INTERPRETED


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU: the kernels' tests run on it")
@pytest.mark.skipif(INTERPRETED, reason="this process is the interpreter's")
@pytest.mark.parametrize("which", ["not nightly", pytest.param("nightly", marks=pytest.mark.nightly)])
def test_kernels_in_the_interpreter(which):
    pytest.importorskip("triton", reason="Triton is not installed")
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", which, str(here)]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=here.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
