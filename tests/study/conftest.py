import sys
from collections.abc import Iterator

import pytest

from . import tiny


@pytest.fixture(autouse=True, scope="session")
def _tiny_network() -> Iterator[None]:
    """A study names its network by module and function."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, tiny.NETWORKS, tiny)
        yield


@pytest.fixture(autouse=True, scope="session")
def _every_epoch_is_stored() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hetconv.train.pace.TIMES", 0)
        yield
