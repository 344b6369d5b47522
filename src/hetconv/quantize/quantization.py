"""Quantizing an ONNX file to 8 bits and measuring what that costs and gains."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from hetconv.errors import HetconvError, UsageError
from hetconv.export.timing import interleaved_medians
from hetconv.files import check_output, write_atomically
from hetconv.quantize.data import TestImages, as_images
from hetconv.quantize.report import QuantizationReport
from hetconv.runtimes import Session, open_session, require

BACKENDS = {"onnxruntime": "onnx_runtime", "openvino": "open_vino"}


def quantize_onnx(
    path: str | Path,
    out: str | Path,
    calibration: Tensor,
    test: Iterable[tuple[Tensor, Tensor]],
    *,
    backend: str = "onnxruntime",
    threads: int = 1,
) -> QuantizationReport:
    """Quantize a float ONNX file to 8 bits after training, and say what became of its accuracy.

    Args:
        path: what `export_onnx` wrote.
        out: the file to write: .onnx for ONNX Runtime, .xml (with a .bin beside it) for OpenVINO.
        calibration: (n, C, H, W), some hundred images as the network gets them, from which ranges are taken.
        test: batches of (images, labels) that were not trained on; accuracy is measured on them before and after.
        backend: "onnxruntime", whose static quantization writes QDQ nodes with weights by channel, or "openvino", whose
            own is nncf.
        threads: with which both are timed.

    Raises:
        UsageError: a package, the file or images are missing, the name of `out` does not fit the backend, or the
            network does not take the images.
        HetconvError: the runtime cannot load the file, which was cut short, say, or cannot quantize it, or the file
            cannot be written. Nothing is left at `out` then but what was there.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend={backend!r} must be one of {', '.join(BACKENDS)}")
    module = importlib.import_module(f"hetconv.quantize.{BACKENDS[backend]}")
    require(*module.PACKAGES)
    path, out = Path(path), Path(out)
    if not path.is_file():
        raise UsageError(f"looked for the ONNX file {path}; it is not there: hetconv.export_onnx writes one")
    if out.suffix != module.SUFFIXES[-1]:
        raise UsageError(f"out={str(out)!r} must end in {module.SUFFIXES[-1]} for {backend}")
    if threads < 1:
        raise UsageError(f"threads={threads} must be at least 1")
    for file in map(out.with_suffix, module.SUFFIXES):
        check_output(file, path)
    images, tested = as_images("calibration", calibration), TestImages.of(test)
    before, before_bytes = _opened(backend, path, threads), path.stat().st_size
    expected = _classes(tested, before, path)
    with tempfile.TemporaryDirectory(prefix="hetconv-quantize-") as scratch:
        try:
            quantized = module.quantize(path, images, Path(scratch))
            after = _loaded(backend, quantized, threads)
            found = tested.classes(after)
        except Exception as error:  # whatever somebody else's quantization does
            told = " ".join(str(error).split())[:300]
            raise HetconvError(f"{backend} cannot quantize {path}: {type(error).__name__}: {told}") from error
        times = interleaved_medians({"before": before, "after": after}, tested.images[:1])
        files = [quantized.with_suffix(suffix) for suffix in module.SUFFIXES]
        for file in files:
            write_atomically(out.with_suffix(file.suffix), file.read_bytes())
        size = sum(file.stat().st_size for file in files)
    return QuantizationReport(
        out,
        backend,
        len(images),
        len(tested.labels),
        tested.accuracy(expected),
        tested.accuracy(found),
        float((found == expected).float().mean()),
        before_bytes,
        size,
        times["before"],
        times["after"],
    )


def _classes(tested: TestImages, session: Session, path: Path) -> Tensor:
    try:
        return tested.classes(session)
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise UsageError(f"{path} does not take images of {tested.images.shape[1:]}: {told}") from error


def _opened(backend: str, path: Path, threads: int) -> Session:
    try:
        return open_session(backend, path.read_bytes(), threads)
    except Exception as error:  # whatever a runtime makes of a file that is no whole ONNX model
        told = " ".join(str(error).split())[:300]
        raise HetconvError(f"{backend} cannot load {path}: {type(error).__name__}: {told}") from error


def _loaded(backend: str, file: Path, threads: int) -> Session:
    if backend == "onnxruntime":
        return open_session(backend, file.read_bytes(), threads)
    from hetconv.runtimes.openvino_runtime import OpenVinoSession

    return OpenVinoSession(file, threads)
