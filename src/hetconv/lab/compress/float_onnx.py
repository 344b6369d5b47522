"""The trained network as it is, in ONNX Runtime: what 8 bits there are to be compared with."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hetconv.export import export_onnx
from hetconv.lab.compress.int8 import calibration
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.runtime_network import RuntimeNetwork
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data
from hetconv.runtimes import require


@dataclass(frozen=True)
class FloatOnnx(Method):
    """Export the trained network to ONNX and run it there, in float32. Nothing is compressed and nothing trained again.

    Times of `Int8` over those of this are what the 8 bits bring; over those of PyTorch they hold the runtime's too.
    """

    def check(self, model: nn.Module, example: Tensor) -> None:
        require("onnx", "onnxscript", "onnxruntime")

    def retraining(self, recipe: Recipe) -> Recipe | None:
        return None

    def finish(self, model: nn.Module, data: Data) -> nn.Module:
        return in_onnx_runtime(model, calibration(data, 1), torch.get_num_threads())


def in_onnx_runtime(model: nn.Module, example: Tensor, threads: int) -> RuntimeNetwork:
    """The float network there; its layers take the form that is fastest, timed with `example`."""
    with tempfile.TemporaryDirectory(prefix="hetconv-float-") as scratch:
        path = Path(scratch) / "float.onnx"
        export_onnx(model.to(memory_format=torch.contiguous_format), example, path, threads=threads)
        return RuntimeNetwork(path.read_bytes(), threads)
