"""Writing a deployed network, of float32 or of 8 bits, as an ONNX file with one native operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hetconv.deployment import Deployed
from hetconv.deployment.whole import steps_of_deployed
from hetconv.errors import HetconvError, UsageError
from hetconv.export.export_report import DeployedExportReport
from hetconv.export.metadata import Metadata
from hetconv.export.native import WholeNetwork, whole_to_onnx
from hetconv.export.onnx_model import versions
from hetconv.export.verify import inputs
from hetconv.files import check_output, write_atomically
from hetconv.foreign import foreign
from hetconv.runtimes import Session, open_session, require


def export_deployed(deployed: Deployed, example: Tensor, path: str | Path, *, threads: int = 1) -> DeployedExportReport:
    """Write a deployed network as ONNX for any batch size: one operator that runs its steps inside ONNX Runtime.

    Sessions need `register_onnx_runtime`. Weights are in the file as the layers have them and packed when a session is
    made, so that it runs on processors with other instruction sets too. Its numbers are the deployed network's bit by
    bit, which is checked in several batch sizes before anything is written. Class names and the size are kept.

    Args:
        deployed: by `hetconv.deploy` in float32 or 8 bits, or `hetconv.load_deployed`; it must be one native call.
        example: (B, C, H, W), float32, as the network will be given; height and width are fixed by it.
        threads: with which it is compared.

    Raises:
        UsageError: onnx, onnxruntime or the native kernels are missing; the network is not one native call, and the
            message says what stands outside; or it does not take the example.
        HetconvError: ONNX Runtime computes something else, or the file cannot be written. Nothing is left at `path`
            then but what was there.
    """
    require("onnx", "onnxruntime")
    path = Path(path)
    check_output(path)
    if not isinstance(deployed, Deployed):
        raise UsageError(f"deployed is a {type(deployed).__name__}; hetconv.deploy makes a network that can be written")
    if not isinstance(example, Tensor) or example.dim() != 4:
        got = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise UsageError(f"example={got} must be one tensor, (batch, channels, height, width)")
    if not isinstance(threads, int) or threads < 1:
        raise UsageError(f"threads={threads!r} must be at least 1")
    steps = steps_of_deployed(deployed)
    example = example.detach()
    onnx = Metadata.for_images(deployed.class_names, example).written(whole_to_onnx(steps, example))
    tried = inputs(example)
    _check_bits(open_session("onnxruntime", onnx, threads, native=True), deployed, tried)
    write_atomically(path, onnx)
    return DeployedExportReport(
        path, len(onnx), *versions(onnx), WholeNetwork.of(steps), tuple(map(len, tried)), deployed.report
    )


def _check_bits(session: Session, deployed: Deployed, tried: tuple[Tensor, ...]) -> None:
    for x in tried:
        with torch.no_grad():
            right = deployed(x).contiguous()
        with foreign(f"onnxruntime fails on a batch of {len(x)}", HetconvError):
            output = np.asarray(session(x.numpy()))
        if not np.array_equal(output.view(np.uint32), right.numpy().view(np.uint32)):
            raise HetconvError(f"onnxruntime gives other numbers than the deployed network for a batch of {len(x)}")
