"""Which network is measured, as data that another process can build it from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hetconv.lab.models import create_model
from hetconv.tensor_file import read_tensors

CALIBRATED = 32
FILE, WEIGHTS = "network.json", "weights.safetensors"


@dataclass(frozen=True)
class Network:
    """One variant of a network, as `hetconv.lab.models.create_model` takes it, and the batch it is measured with."""

    model: str
    variant: str
    input_size: tuple[int, int, int]
    num_classes: int = 10
    width: float = 1.0
    batch_size: int = 1
    precision: str = "float32"

    @property
    def title(self) -> str:
        """How tables name it."""
        return self.variant if self.precision == "float32" else f"{self.variant} {self.precision}"

    def create(self) -> nn.Module:
        """The network in evaluation mode, its weights and batch-norm statistics drawn from a fixed seed."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            model = create_model(self.model, self.variant, self.num_classes, width=self.width)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                    module.running_mean.uniform_(-0.1, 0.1)
                    assert module.running_var is not None
                    module.running_var.uniform_(0.8, 1.25)
        return model.eval()

    def example(self) -> Tensor:
        """(B, C, H, W), float32"""
        return torch.randn(self.batch_size, *self.input_size, generator=torch.Generator().manual_seed(1))

    def calibration(self) -> Tensor:
        """Images that ranges of 8 bits are taken from."""
        return torch.randn(CALIBRATED, *self.input_size, generator=torch.Generator().manual_seed(2))

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write what `load` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(asdict(self)))
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, nn.Module]:
        """The network that `save` wrote, in evaluation mode."""
        found = json.loads((folder / FILE).read_text())
        network = cls(**(found | {"input_size": tuple(found["input_size"])}))
        model = create_model(network.model, network.variant, network.num_classes, width=network.width)
        model.load_state_dict(read_tensors(folder / WEIGHTS).tensors)
        return network, model.eval()
