"""ONNX Runtime's static quantization: quantize and dequantize nodes in an ONNX file, weights by channel."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hetconv.quantize.image_sets import calibration_batches
from hetconv.runtimes.session import Array

PACKAGES = ("onnx", "onnxruntime")
SUFFIXES = (".onnx",)


def quantize(model: Path, calibration: Array, folder: Path, reduce_range: bool = True) -> Path:
    """Write the quantized model into a folder.

    Args:
        reduce_range: whether weights have 7 bits: where a processor has no VNNI instructions, sums of two 8-bit
            products would overflow.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    out = folder / "quantized.onnx"
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises a preparation that the export has done
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                model, out, _reader(model, calibration), quant_format=QuantFormat.QDQ, per_channel=True,
                reduce_range=reduce_range, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
    finally:
        logging.root.setLevel(level)
    return out


def _reader(model: Path, calibration: Array) -> Any:
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader

    name = InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[Array] = calibration_batches(calibration)

        def get_next(self) -> dict[str, Array] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    return Reader()
