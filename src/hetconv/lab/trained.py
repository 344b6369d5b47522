"""What a checkpoint says of its network: enough to build it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hetconv.tensor_file import NotSafetensorsError, read_metadata

METADATA = "hetconv"
"""Of a checkpoint's file: the name of the text that describes it."""
_TIMES = " × "


@dataclass(frozen=True)
class Trained:
    """A network of a checkpoint, in the words of `create_model`; one example's (channels, height, width); the names of
    the classes, if its data had any."""

    network: str
    width: float
    variant: str
    num_classes: int
    input_size: tuple[int, int, int]
    class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Read it from a file's header; None where the file is missing or not of one training of `hetconv`."""
        if not path.is_file():
            return None
        try:
            identity = json.loads(read_metadata(path)[METADATA])["identity"]
            network, width = network_and_width(identity["network"])
            (variant,) = identity["variants"]
            names = tuple(map(str, identity.get("class_names", ())))
            return cls(network, width, variant, int(identity["num_classes"]), tuple(identity["input_size"]), names)
        except (NotSafetensorsError, KeyError, TypeError, ValueError):
            return None


def title(network: str, width: float) -> str:
    """A network's name with its width, as records have it."""
    return network if width == 1.0 else f"{network}{_TIMES}{width:g}"


def network_and_width(text: str) -> tuple[str, float]:
    """What `title` was made of."""
    network, _, width = text.partition(_TIMES)
    return network, float(width or 1)
