"""ONNX Runtime with the operators of `hetconv export --form native`, which run on the native kernels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hetconv.built import library
from hetconv.errors import HetconvError, UsageError
from hetconv.foreign import foreign

LIBRARY = "libhetconv_onnx.so"
THREADS = "hetconv.threads"
"""The entry of a session's configuration by which the operators know its number of threads."""


def onnx_runtime_library() -> Path:
    """The library that ONNX Runtime loads to know the operators of the domain ai.hetconv.

    It needs neither PyTorch nor Python: copied to another machine of the same kind, any program that uses ONNX Runtime
    1.17 or newer can register it.

    Raises:
        UsageError: it was not built here; the message says why.
    """
    found = library(LIBRARY)
    if isinstance(found, str):
        raise UsageError(f"ONNX Runtime cannot be given the native kernels: {found}")
    return found


def register_onnx_runtime(session_options: Any) -> None:
    """Let sessions that are made with these options run networks that `export_onnx(…, form="native")` wrote.

    The operators use the session's own threads. Set `intra_op_num_threads` before.

    Args:
        session_options: an `onnxruntime.SessionOptions`.

    Raises:
        UsageError: the library was not built here, or these are no session options.
        HetconvError: ONNX Runtime does not take the library, since it is too old, say.
    """
    path = onnx_runtime_library()
    if not hasattr(session_options, "register_custom_ops_library"):
        kind = type(session_options).__name__
        raise UsageError(f"session_options is a {kind}; it must be an onnxruntime.SessionOptions")
    threads = session_options.intra_op_num_threads
    with foreign(f"ONNX Runtime does not take {path.name}", HetconvError):
        session_options.add_session_config_entry(THREADS, str(threads if threads > 0 else os.cpu_count() or 1))
        session_options.register_custom_ops_library(str(path))
