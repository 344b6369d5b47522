"""A network deployed for inference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from hetconv.deployment.deploy_report import DeployReport
from hetconv.errors import UsageError


class Deployed(nn.Module):
    """A network for inference on CPUs in float32, by `hetconv.deploy` or `hetconv.load_deployed`.

    It takes what the original took, any batch size, and any image size if the original did. Images in its output are
    in channels-last memory. It stays in evaluation mode and has no gradients.

    Attributes:
        network: the captured graph; or, if the original could not be captured whole, its Python code around the
            graphs of its parts.
        report: what became of each convolution.
        class_names: of a classifier, in order, if they are known; kept in the file, as is
        image_size: the height and width of the images that it was trained on, if that is known.
    """

    def __init__(
        self, network: nn.Module, report: DeployReport, class_names: tuple[str, ...] = (), image_size: int | None = None
    ) -> None:
        super().__init__()
        self.class_names, self.image_size = class_names, image_size
        self.network, self.report = network.requires_grad_(False), report
        super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whichever is asked for."""
        return self

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, whole or not at all: natural weights, and the graph and the report as JSON.

        `hetconv.load_deployed` reads it, on a machine with another instruction set too.

        Raises:
            HetconvError: the disk is full or the folder cannot be written to.
        """
        from hetconv.deployment.deployed_file import save_deployed

        save_deployed(self, Path(path))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Keeps memory as it is: layouts were chosen when it was deployed."""
        moved = fn(torch.zeros(1, device="cpu"))
        if moved.dtype != torch.float32 or moved.device.type != "cpu":
            raise UsageError(
                f"a deployed network stays float32 on the CPU, not {moved.dtype} on {moved.device}; "
                f"convert the original"
            )
        return self
