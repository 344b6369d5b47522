"""OpenVINO, with HetConv layers in the form that it runs fastest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "OpenVINO"
PACKAGES = {"openvino": "2024.0", "onnx": "1.16", "onnxscript": "0.5"}
PRECISIONS = ("float32", "int8")
FILE = "open_vino.onnx"


def prepare(folder: Path, threads: int) -> str:
    from hetconv.errors import HetconvError
    from hetconv.lab.bench.measured_network import Network
    from hetconv.lab.bench.onnx_file import fastest_form
    from hetconv.quantize.open_vino import quantize
    from hetconv.runtimes import why_not

    remark = fastest_form(folder, FILE, load, threads)
    network = Network.load(folder)[0]
    if network.precision == "int8":
        reason = why_not("nncf", "2.10")
        if reason is not None:
            raise HetconvError(reason)
        quantize(folder / FILE, network.calibration().numpy(), folder)
    return remark


def load(folder: Path, threads: int) -> Callable[[Any], Any]:
    import numpy as np
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    quantized = folder / "quantized.xml"
    model = core.read_model(quantized if quantized.exists() else folder / FILE)
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(x: Any) -> Any:
        (output,) = request.infer([x], share_inputs=True).values()
        return np.array(output)

    return run
