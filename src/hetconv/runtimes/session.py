"""One interface for the runtimes, and why one of them cannot be used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hetconv.errors import UsageError

Array = NDArray[np.float32]


class Session(Protocol):
    """A loaded network: takes a batch (B, C, H, W), returns its output."""

    def __call__(self, x: Any, /) -> Any: ...


def _onnxruntime(model: bytes, threads: int) -> Session:
    from hetconv.runtimes.onnx_runtime import OnnxRuntimeSession

    return OnnxRuntimeSession(model, threads)


def _onnxruntime_native(model: bytes, threads: int) -> Session:
    from hetconv.runtimes.onnx_runtime import OnnxRuntimeSession

    return OnnxRuntimeSession(model, threads, native=True)


def _openvino(model: bytes, threads: int) -> Session:
    from hetconv.runtimes.open_vino import OpenVinoSession

    return OpenVinoSession(model, threads)


RUNTIMES: dict[str, Callable[[bytes, int], Session]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
"""Runtimes that read ONNX, by the name of their package."""

OLDEST = {"onnx": "1.16", "onnxscript": "0.5", "onnxruntime": "1.18", "openvino": "2024.0", "nncf": "2.7"}
"""Versions that are needed."""


def why_not(package: str, oldest: str | None = None) -> str | None:
    """Why a package cannot be used: it is missing, or older than `oldest` or what is needed; None if it can."""
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install {package}"
    oldest = OLDEST.get(package) if oldest is None else oldest
    if oldest is None:
        return None
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None  # built from source, without a record of its version
    if _numbers(found) < _numbers(oldest):
        return f"{package} {found} is too old, {oldest} is needed: pip install --upgrade {package}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, as numbers that compare."""
    release = version.partition("+")[0].split(".")
    return tuple(int(part) for part in release if part.isdigit())


def require(*packages: str) -> None:
    """Check that these packages are there.

    Raises:
        UsageError: one is not, or too old; the message says how to install it.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(f"this needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    old = [reason for reason in map(why_not, packages) if reason is not None]
    if old:
        raise UsageError("; ".join(old))


def open_session(runtime: str, model: bytes, threads: int, native: bool = False) -> Session:
    """Load an ONNX model into a runtime.

    Args:
        native: whether it has operators of the domain ai.hetconv, which are for "onnxruntime".

    Raises:
        UsageError: the runtime is not known or not installed.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"runtime={runtime!r} must be one of {', '.join(RUNTIMES)}")
    require(runtime)
    return _onnxruntime_native(model, threads) if native else RUNTIMES[runtime](model, threads)
