"""Runtimes that people deploy ONNX models with; one file each, imported when used."""

from hetconv.runtimes.custom_operators import onnx_runtime_library, register_onnx_runtime
from hetconv.runtimes.session import RUNTIMES, Session, open_session, require, why_not

__all__ = ["RUNTIMES", "Session", "onnx_runtime_library", "open_session", "register_onnx_runtime", "require", "why_not"]
