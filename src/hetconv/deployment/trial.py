"""Whether a network's own code takes its deployed parts in place of its modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from hetconv.deployment.deployed_part import DeployedPart
from hetconv.errors import UsageError
from hetconv.foreign import describe_error
from hetconv.graph.equality import run


class MissingAttributeError(AttributeError):
    """A network's code reads what a deployed part no longer has, such as a weight."""

    def __init__(self, part: str, key: str) -> None:
        super().__init__(f"{part} has no {key} once it is deployed")
        self.part, self.key = part, key


class _Watched(DeployedPart):
    """A part that says its name where an attribute is missing."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise MissingAttributeError(self.names[0], name) from error


def try_out(network: nn.Module, parts: list[DeployedPart], args: tuple[Any, ...]) -> None:
    """Run the network; where its code wants tensors in PyTorch's usual layout, its parts give these from then on.

    Raises:
        MissingAttributeError: its code reads an attribute of a part that is not there.
        UsageError: its code does not run for another reason.
    """
    with _watched(parts):
        try:
            run(network, (args, {}))
        except MissingAttributeError:
            raise
        except Exception:  # `view` of channels-last images, most likely
            for part in parts:
                part.make_outputs_contiguous()
            try:
                run(network, (args, {}))
            except Exception as error:
                raise UsageError(
                    f"the model's own code does not take deployed parts of itself: {describe_error(error)}"
                ) from error


@contextmanager
def _watched(parts: list[DeployedPart]) -> Iterator[None]:
    for part in parts:
        part.__class__ = _Watched
    try:
        yield
    finally:
        for part in parts:
            part.__class__ = DeployedPart
