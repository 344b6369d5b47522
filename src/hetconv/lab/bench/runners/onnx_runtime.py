"""ONNX Runtime, with HetConv layers in the form that it runs fastest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "ONNX Runtime"
PACKAGES = {"onnxruntime": "1.18", "onnx": "1.16", "onnxscript": "0.5"}
PRECISIONS = ("float32", "int8")
FILE = "onnx_runtime.onnx"


def prepare(folder: Path, threads: int) -> str:
    from hetconv.lab.bench.measured_network import Network
    from hetconv.lab.bench.onnx_file import fastest_form
    from hetconv.ops import native
    from hetconv.quantize.onnx_runtime import quantize

    remark = fastest_form(folder, FILE, lambda at, count: load(at, count, alone=False), threads)
    network = Network.load(folder)[0]
    if network.precision == "int8":
        has_vnni = native.instruction_set().endswith(("_vnni", "_amx"))
        made = quantize(folder / FILE, network.calibration().numpy(), folder, reduce_range=not has_vnni)
        made.replace(folder / FILE)
    return remark


def load(folder: Path, threads: int, alone: bool = True) -> Callable[[Any], Any]:
    """The model as a function; where it is not `alone` its threads do not wait for work by spinning."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "0" if alone else "1")
    session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]
