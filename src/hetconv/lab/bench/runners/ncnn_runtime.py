"""ncnn, converted by pnnx, with HetConv layers in the form that it runs fastest; images of a batch one by one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "ncnn"
PACKAGES = {"ncnn": "1.0", "pnnx": "20240101", "onnx": "1.16", "onnxscript": "0.5"}
FILE = "ncnn_runtime.onnx"


def prepare(folder: Path, threads: int) -> str:
    from hetconv.lab.bench.onnx_file import fastest_form

    return fastest_form(folder, FILE, load, threads, _convert)


def load(folder: Path, threads: int) -> Callable[[Any], Any]:
    import ncnn
    import numpy as np

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    stem = FILE.removesuffix(".onnx")
    check("load_param", net.load_param(str(folder / f"{stem}.ncnn.param")))
    check("load_model", net.load_model(str(folder / f"{stem}.ncnn.bin")))

    def one(image: Any) -> Any:
        extractor = net.create_extractor()
        # a clone: ncnn.Mat(image) has no owner, and a layer that works in place on it ends the process
        check("input", extractor.input("in0", ncnn.Mat(image).clone()))
        code, output = extractor.extract("out0")
        check("extract", code)
        if output.empty():
            raise RuntimeError("extract gives nothing")
        return np.array(output)

    return lambda x: np.stack([one(image) for image in x])


def check(what: str, code: int) -> None:
    """ncnn returns a number where others raise; to go on from a failure would read memory that is not there."""
    if code != 0:
        raise RuntimeError(f"{what} fails with code {code}")


def _convert(folder: Path) -> None:
    """Make ncnn's files of the ONNX file; pnnx tells what it does not support, and goes on."""
    import onnx
    import pnnx

    from hetconv.errors import HetconvError

    dims = onnx.load(folder / FILE).graph.input[0].type.tensor_type.shape.dim
    size = ",".join(map(str, (1, *(dim.dim_value for dim in dims[1:]))))
    done = subprocess.run(
        [pnnx.EXEC_PATH, FILE, f"inputshape=[{size}]", "fp16=0"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in (done.stdout + done.stderr).splitlines() if "not supported" in line]
    if done.returncode != 0 or said:
        raise HetconvError(f"pnnx cannot convert it: {said[0] if said else f'exit code {done.returncode}'}")
