"""Quantizing an ONNX file to 8 bits and measuring what that costs and gains."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from hetconv.clock import medians_in_turns, wall
from hetconv.errors import HetconvError, UsageError
from hetconv.export.native import DOMAIN
from hetconv.files import check_output, write_atomically
from hetconv.foreign import foreign
from hetconv.quantize.image_sets import TestImages, as_images
from hetconv.quantize.quantization_report import QuantizationReport
from hetconv.runtimes import Session, open_session, require
from hetconv.runtimes.session import Array

BACKENDS = {"onnxruntime": "onnx_runtime", "openvino": "open_vino"}
QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm")
"""What the names of 8-bit operators begin with."""


def quantize_onnx(
    path: str | Path,
    out: str | Path,
    calibration: Tensor,
    test: Iterable[Any],
    *,
    backend: str = "onnxruntime",
    threads: int = 1,
) -> QuantizationReport:
    """Quantize a float ONNX file to 8 bits after training, and say what became of its accuracy.

    Args:
        path: what `export_onnx` wrote.
        out: the file to write: .onnx for ONNX Runtime, .xml (with a .bin beside it) for OpenVINO.
        calibration: (n, C, H, W), some hundred images as the network gets them, from which ranges are taken.
        test: batches that were not trained on, (images, labels), a dict of these, or images alone. Outputs are compared
            on them before and after, and accuracy where labels are classes of images or of pixels.
        backend: "onnxruntime", whose static quantization writes QDQ nodes with weights by channel, or "openvino", whose
            own is nncf.
        threads: with which both are timed.

    Raises:
        UsageError: a package, the file or images are missing, `out` does not fit the backend, cannot be written or is
            the file itself, or the network does not take the images, is in the native form or quantized already.
        HetconvError: the runtime cannot load the file, which was cut short, say, or cannot quantize it, or the file
            cannot be written. Nothing is left at `out` then but what was there.
    """
    path, out = Path(path), Path(out)
    module = _tool(path, out, backend, threads)
    images, tested = as_images("calibration", calibration), TestImages.of(test)
    before, before_bytes = _opened(backend, path, threads), path.stat().st_size
    with foreign(f"{path} does not take images of {tested.images.shape[1:]}"):
        expected = tested.outputs(before)
    with tempfile.TemporaryDirectory(prefix="hetconv-quantize-") as scratch:
        with foreign(f"{backend} cannot quantize {path}", HetconvError):
            quantized = module.quantize(path, images, Path(scratch))
            after = _loaded(backend, quantized, threads)
            found = tested.outputs(after)
        times = medians_in_turns({"before": wall(before, tested.images[:1]), "after": wall(after, tested.images[:1])})
        files = {suffix: quantized.with_suffix(suffix).read_bytes() for suffix in module.SUFFIXES}
    for suffix, content in files.items():
        write_atomically(out.with_suffix(suffix), content)
    why_not = tested.why_no_accuracy(expected)
    return QuantizationReport(
        path=out,
        backend=backend,
        calibration_images=len(images),
        images=len(tested.images),
        accuracy_before=tested.accuracy(expected) if why_not is None else None,
        accuracy_after=tested.accuracy(found) if why_not is None else None,
        agreement=_agreement(expected, found) if why_not is None or expected.ndim == 2 else None,
        difference=_difference(expected, found),
        bytes_before=before_bytes,
        bytes_after=sum(map(len, files.values())),
        ms_before=times["before"],
        ms_after=times["after"],
        why_no_accuracy=why_not,
    )


def _tool(path: Path, out: Path, backend: str, threads: int) -> ModuleType:
    """The module of the backend, where quantization can begin."""
    if backend not in BACKENDS:
        raise UsageError(f"backend={backend!r} must be one of {', '.join(BACKENDS)}")
    module = importlib.import_module(f"hetconv.quantize.{BACKENDS[backend]}")
    require("onnx", *module.PACKAGES)
    if not path.is_file():
        raise UsageError(f"looked for the ONNX file {path}; it is not there: hetconv.export_onnx writes one")
    if out.suffix != module.SUFFIXES[-1]:
        raise UsageError(f"out={str(out)!r} must end in {module.SUFFIXES[-1]} for {backend}")
    if threads < 1:
        raise UsageError(f"threads={threads} must be at least 1")
    for file in map(out.with_suffix, module.SUFFIXES):
        check_output(file, path)
    _check_model(path, backend)
    return module


def _agreement(expected: Array, found: Array) -> float:
    return float((expected.argmax(1) == found.argmax(1)).mean())


def _difference(expected: Array, found: Array) -> float:
    size = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(found.astype(np.float64) - expected)))) / (size if size > 0 else 1.0)


def _check_model(path: Path, backend: str) -> None:
    """See that a file is one that can be quantized.

    Raises:
        UsageError: it has our native operators, or 8-bit ones already.
        HetconvError: it is no whole ONNX file.
    """
    import onnx

    with foreign(f"{backend} cannot load {path}", HetconvError):
        nodes = onnx.load(path, load_external_data=False).graph.node
    if any(node.domain == DOMAIN for node in nodes):
        raise UsageError(
            f'{path} is in the native form, which has its own 8 bits (deploy in "int8", then export_deployed); for '
            'standard operators export it with form="grouped", "sliced" or "dense"'
        )
    if any(node.op_type.startswith(QUANTIZED) or node.op_type.endswith("Integer") for node in nodes):
        raise UsageError(f"{path} is quantized already; give the float file that it was made of")


def _opened(backend: str, path: Path, threads: int) -> Session:
    with foreign(f"{backend} cannot load {path}", HetconvError):
        return open_session(backend, path.read_bytes(), threads)


def _loaded(backend: str, file: Path, threads: int) -> Session:
    if backend == "onnxruntime":
        return open_session(backend, file.read_bytes(), threads)
    from hetconv.runtimes.open_vino import OpenVinoSession

    return OpenVinoSession(file, threads)
