"""ONNX Runtime with convolutions, or the whole network, on our kernels, as its operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "ONNX Runtime, native"
PACKAGES = {"onnxruntime": "1.18", "onnx": "1.16", "onnxscript": "0.5"}
PRECISIONS = ("float32", "int8")
FILE, LIBRARY = "onnx_runtime_native.onnx", "onnx_runtime_native.txt"


def prepare(folder: Path, threads: int) -> str:
    """Export it in the form that is the fastest in float32, and in 8 bits as one operator."""
    from hetconv.deployment import deploy
    from hetconv.export import export_deployed
    from hetconv.export.candidate import fastest
    from hetconv.export.verify import reference
    from hetconv.lab.bench.measured_network import Network
    from hetconv.runtimes import onnx_runtime_library

    network, model = Network.load(folder)
    (folder / LIBRARY).write_text(str(onnx_runtime_library()))
    x = network.example()
    if network.precision == "int8":
        export_deployed(deploy(model, x, "int8", network.calibration(), timed=False), x, folder / FILE)
        return ""
    found = fastest(model, "native", (x,), [reference(model, x)], threads)
    (folder / FILE).write_bytes(found.candidate.onnx)
    return found.name.removeprefix("native, ")


def load(folder: Path, threads: int) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("hetconv.threads", str(threads))
    options.register_custom_ops_library((folder / LIBRARY).read_text())
    session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]
