"""How a network with the weights of a file is built and opened, where that is not as the file says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hetconv.lab.settings.comparison import NETWORKS, OWN_WIDTH, Threads
from hetconv.lab.settings.setting import Setting, check
from hetconv.lab.variant import Variant

TrainedImageSize = Annotated[
    int, Setting("Height and width of images, in pixels; the file's or network's own.", at_least=8, at_most=16384)
]


@dataclass(frozen=True, kw_only=True)
class TrainedSize:
    """How large the network is; None is as its checkpoint says."""

    num_classes: Annotated[int, Setting("Classes of the network; the checkpoint's, or 10.", at_least=1)] | None = None
    width: Annotated[float, Setting(f"{OWN_WIDTH}; the checkpoint's, or 1.")] | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class TrainedAs(TrainedSize):
    """How the network is built; None is as its checkpoint says."""

    variant: (
        Annotated[Variant, Setting("Kind of layers: dense, het-p4, gwc4-pwc, …; the checkpoint's, or dense.")] | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class Opening(TrainedAs):
    """How any file of a trained network is opened, and how large the images are that it gets."""

    model: Annotated[str, Setting(f"Network of a state dict: {NETWORKS}")] | None = None
    image_size: TrainedImageSize | None = None
    threads: Threads | None = None
