"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from hetconv.runtimes.custom_operators import register_onnx_runtime
from hetconv.runtimes.session import Array

ERRORS_ONLY = 3


class OnnxRuntimeSession:
    """A model in ONNX Runtime, all graph optimizations on; its threads sleep between calls, when others may be timed.

    Args:
        native: whether the model has operators of the domain ai.hetconv.

    Attributes:
        metadata: what the file says of itself.
    """

    def __init__(self, model: bytes, threads: int, native: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if native:
            register_onnx_runtime(options)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, x: Array) -> NDArray[Any]:
        return self._session.run(None, {self._input: x})[0]  # type: ignore[no-any-return]
