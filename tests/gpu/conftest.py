"""Where the GPU kernels run in this process: on a GPU, or in Triton's interpreter if that was asked for."""

import os
from pathlib import Path

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"


if INTERPRETED:
    from .interpreter import patch_language_once, without_overflow_checks

    without_overflow_checks()
    patch_language_once()


def pytest_collection_modifyitems(items):
    """The interpreter's process runs what it is there for; the rest of this folder runs in the usual one."""
    here = Path(__file__).parent
    if INTERPRETED:
        items[:] = [item for item in items if "device" in item.fixturenames or here not in item.path.parents]


@pytest.fixture
def device():
    """Where the kernels take their tensors."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if DEVICE == "cpu" and not INTERPRETED:
        pytest.skip("there is no GPU; test_interpreter.py runs this in Triton's interpreter, in a process of its own")
    return DEVICE


@pytest.fixture
def gpu():
    """A GPU, for what the interpreter cannot show."""
    if DEVICE == "cpu":
        pytest.skip("there is no GPU")
    pytest.importorskip("triton", reason="Triton is not installed")
    return DEVICE


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan():
    """An output that a kernel forgets to write is then seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
