"""OpenVINO on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetconv.runtimes.session import Array


class OpenVinoSession:
    """A model in OpenVINO, in float32, tuned for the latency of one request.

    Args:
        model: an ONNX model's bytes, or the path of an .xml file.
    """

    def __init__(self, model: bytes | Path, threads: int) -> None:
        import openvino

        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        self._request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def __call__(self, x: Array) -> NDArray[Any]:
        (output,) = self._request.infer([x], share_inputs=True).values()
        return np.array(output)
