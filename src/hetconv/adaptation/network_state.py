"""A network's state, kept aside while it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def unchanged_on_error(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Give a copy of the network's state; what is raised within leaves the network with that state."""
    before = {name: value.clone() for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    try:
        yield before
    except BaseException:
        network.load_state_dict(before)
        raise
