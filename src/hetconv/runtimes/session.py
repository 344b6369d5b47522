"""One interface for the runtimes, and why one of them cannot be used."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hetconv.errors import UsageError

Array = NDArray[np.float32]


class Session(Protocol):
    """A loaded network: takes a batch (B, C, H, W), returns its output."""

    def __call__(self, x: Array) -> NDArray[Any]: ...


def _onnxruntime(model: bytes, threads: int) -> Session:
    from hetconv.runtimes.onnx_runtime import OnnxRuntimeSession

    return OnnxRuntimeSession(model, threads)


def _openvino(model: bytes, threads: int) -> Session:
    from hetconv.runtimes.openvino_runtime import OpenVinoSession

    return OpenVinoSession(model, threads)


RUNTIMES: dict[str, Callable[[bytes, int], Session]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
"""Runtimes that read ONNX, by the name of their package."""


def why_not(package: str) -> str | None:
    """Why a package cannot be used; None if it can."""
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install {package}"
    return None


def require(*packages: str) -> None:
    """Check that these packages are there.

    Raises:
        UsageError: one is not; the message says how to install it.
    """
    missing = [package for package in packages if why_not(package) is not None]
    if missing:
        raise UsageError(f"this needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def open_session(runtime: str, model: bytes, threads: int) -> Session:
    """Load an ONNX model into a runtime.

    Raises:
        UsageError: the runtime is not known or not installed.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"runtime={runtime!r} must be one of {', '.join(RUNTIMES)}")
    require(runtime)
    return RUNTIMES[runtime](model, threads)
