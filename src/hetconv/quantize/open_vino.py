"""OpenVINO's quantization by nncf: an .xml file with its .bin beside it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

from hetconv.quantize.image_sets import calibration_batches
from hetconv.runtimes.session import Array

PACKAGES = ("openvino", "nncf")
SUFFIXES = (".bin", ".xml")
"""The file that refers to the other is written last."""


def quantize(model: Path, calibration: Array, folder: Path) -> Path:
    """Write the quantized model into a folder."""
    import openvino

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import nncf

        logging.getLogger("nncf").setLevel(logging.ERROR)
        batches = list(calibration_batches(calibration))
        # convert_model and not read_model: a grouped convolution's weights must be constants before nncf looks for them
        quantized = nncf.quantize(openvino.convert_model(model), nncf.Dataset(batches), subset_size=len(batches))
    out = folder / "quantized.xml"
    openvino.save_model(quantized, out, compress_to_fp16=False)
    return out
