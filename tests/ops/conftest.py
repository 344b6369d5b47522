import pytest
import torch


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan():
    """An output that a kernel forgets to write is then seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
