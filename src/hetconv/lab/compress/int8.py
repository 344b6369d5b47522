"""8-bit weights and activations after training, by ONNX Runtime."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.export import export_onnx
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.runtime_network import RuntimeNetwork
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data
from hetconv.quantize import quantize_onnx
from hetconv.runtimes import require


@dataclass(frozen=True)
class Int8(Method):
    """Export the trained network to ONNX and quantize it: weights by channel, ranges from training images.

    Nothing is removed and nothing is trained again. The network that comes of it runs in ONNX Runtime.

    Attributes:
        calibration_images: training images from which ranges are taken.

    Raises:
        UsageError: there is not one image.
    """

    calibration_images: int = 256

    def __post_init__(self) -> None:
        if self.calibration_images < 1:
            raise UsageError(f"calibration_images={self.calibration_images} must be at least 1")

    def check(self, model: nn.Module, example: Tensor) -> None:
        require("onnx", "onnxscript", "onnxruntime")

    def retraining(self, recipe: Recipe) -> Recipe | None:
        return None

    def finish(self, model: nn.Module, data: Data) -> nn.Module:
        threads = torch.get_num_threads()
        images = calibration(data, self.calibration_images)
        with tempfile.TemporaryDirectory(prefix="hetconv-int8-") as scratch:
            exported, quantized = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
            export_onnx(model.to(memory_format=torch.contiguous_format), images[:1], exported, threads=threads)
            quantize_onnx(exported, quantized, images, [_one_batch(data)], threads=threads)
            return RuntimeNetwork(quantized.read_bytes(), threads)


def calibration(data: Data, count: int) -> Tensor:
    """Training images, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images: Tensor = next(iter(data.train_loader(min(count, data.train_images))))[0]
    return images


def _one_batch(data: Data) -> tuple[Tensor, Tensor]:
    """Held-out images for quantize_onnx's own check; the course measures accuracy on all of them."""
    images, labels = next(iter(data.test_loader(100)))
    return images, labels
