"""A network in ONNX Runtime that is called, timed and evaluated like any module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hetconv.runtimes import open_session


class RuntimeNetwork(nn.Module):
    """An ONNX network, for inference on the CPU.

    Attributes:
        onnx: the file's bytes.

    Shape:
        input (B, C, H, W), float32; output as the network's.
    """

    def __init__(self, onnx: bytes, threads: int) -> None:
        super().__init__()
        self.onnx = onnx
        self._session = open_session("onnxruntime", onnx, threads)

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._session(np.ascontiguousarray(x.cpu().numpy()))).to(x.device)
