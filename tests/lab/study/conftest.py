import sys
from collections.abc import Iterator

import pytest
import torch

from . import tiny


@pytest.fixture(autouse=True, scope="session")
def _tiny_network() -> Iterator[None]:
    """A study names its network by module and function."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, tiny.NETWORKS, tiny)
        yield


@pytest.fixture(autouse=True, scope="package")
def _every_epoch_is_stored() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hetconv.lab.train.pace.TIMES", 0)
        yield


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks so small take no less time with more, and far more where other tests keep the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
