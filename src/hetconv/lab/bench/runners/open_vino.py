"""OpenVINO, with HetConv layers in the form that it runs fastest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "OpenVINO"
PACKAGES = {"openvino": "2024.0", "onnx": "1.16", "onnxscript": "0.5"}
FILE = "open_vino.onnx"


def prepare(folder: Path, threads: int) -> str:
    from hetconv.lab.bench.forms import fastest_form

    return fastest_form(folder, FILE, load, threads)


def load(folder: Path, threads: int) -> Callable[[Any], Any]:
    import numpy as np
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(folder / FILE), "CPU", settings).create_infer_request()

    def run(x: Any) -> Any:
        (output,) = request.infer([x], share_inputs=True).values()
        return np.array(output)

    return run
