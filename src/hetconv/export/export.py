"""Writing a network as an ONNX file that is known to compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from hetconv.deployment import Deployed
from hetconv.errors import UsageError
from hetconv.export.candidate import Candidate, fastest
from hetconv.export.export_report import ExportReport
from hetconv.export.forms import FORMS, AnyForm
from hetconv.export.metadata import Metadata
from hetconv.export.native import DOMAIN
from hetconv.export.onnx_model import versions
from hetconv.export.verify import Checked, compare, inputs, reference
from hetconv.files import check_output, write_atomically
from hetconv.graph.equality import Reference
from hetconv.nn import HetConv2d
from hetconv.runtimes import RUNTIMES, open_session, require, why_not
from hetconv.wrappers import unwrap


def export_onnx(
    model: nn.Module,
    example: Tensor,
    path: str | Path,
    form: str = "auto",
    *,
    threads: int = 1,
    runtime: str = "onnxruntime",
    class_names: Sequence[str] = (),
) -> ExportReport:
    """Write a network as ONNX, in evaluation mode, for any batch size; with standard operators, but for "native".

    HetConv layers become convolutions: "grouped" (a grouped K×K and a 1×1 added), "sliced" (a convolution on each
    part's slice, concatenated, and the 1×1) or "dense" (zero-filled). In the form "native" they and standard
    convolutions, with what joins them, are operators that run our kernels inside ONNX Runtime, or the whole network is
    one: its sessions need `register_onnx_runtime`. Batch norms are folded into the layers before them. What is written
    is compared with the model first, on ONNX Runtime and, where it is installed, on OpenVINO, in several batch sizes;
    what differs is not written. The model is left as it was.

    Args:
        example: (B, C, H, W), float32, as the network will be given; height and width are fixed by it.
        form: "auto" times the forms of standard operators with this example: of each distinct layer alone, then the
            whole network with each layer in its fastest form and with all in one, and takes what is fastest there;
            "native" is tried with the whole network as one operator, if it can be, with every convolution on the native
            kernels and with HetConv layers only.
        threads: with which forms are timed.
        runtime: on which forms are timed, "onnxruntime" or "openvino"; any runtime can read the file.
        class_names: of a classifier, in order; kept in the file, as is the example's width as the size of images.

    Returns:
        what was done, forms' times and every comparison among it.

    Raises:
        UsageError: onnx, onnxscript, onnxruntime or, for their form, the native kernels are missing; the model does
            not take the example, is not float32, returns something else than one tensor, or cannot be captured by
            PyTorch's exporter; or it is deployed, which `export_deployed` writes.
        HetconvError: a runtime computes something else than the model, or the file cannot be written. Nothing is
            left at `path` then but what was there.
    """
    require("onnx", "onnxscript", "onnxruntime")
    model, path = unwrap(model), Path(path)
    check_output(path)
    form = _check(model, example, form, threads, runtime)
    metadata = Metadata.for_images(class_names, example)
    has_layers = any(isinstance(module, HetConv2d) for module in model.modules())
    tried = inputs(example.detach().cpu())
    references = [reference(model, x) for x in tried]
    found = fastest(model, form, tried, references, threads, runtime)
    chosen = found.candidate
    others, unchecked = _compared_elsewhere(chosen, tried, references, threads, runtime)
    onnx = metadata.written(chosen.onnx)
    write_atomically(path, onnx)
    opset, ir_version = versions(onnx)
    return ExportReport(
        path,
        len(onnx),
        opset,
        ir_version,
        found.name if has_layers or form == "native" else None,
        found.timed_ms,
        found.refused,
        chosen.prepared.layers,
        chosen.prepared.notes,
        chosen.prepared.folding,
        chosen.checked + others,
        unchecked,
        chosen.rewritten,
        runtime,
        found.layers,
    )


def _compared_elsewhere(
    chosen: Candidate, tried: tuple[Tensor, ...], references: list[Reference], threads: int, timed_on: str
) -> tuple[tuple[Checked, ...], dict[str, str]]:
    """Comparisons on the other runtimes, and why there is none on some."""
    checked: tuple[Checked, ...] = ()
    unchecked: dict[str, str] = {}
    for runtime in RUNTIMES:
        if runtime == timed_on:
            continue
        reason = why_not(runtime) if chosen.rewritten is None else f"it has no operators of {DOMAIN}"
        if reason is None:
            checked += compare(runtime, open_session(runtime, chosen.onnx, threads), tried, references)
        else:
            unchecked[runtime] = reason
    return checked, unchecked


def _check(model: nn.Module, example: object, form: str, threads: int, runtime: str) -> AnyForm | Literal["auto"]:
    """The form, where export can begin."""
    if not isinstance(example, Tensor) or example.dim() != 4 or example.shape[0] < 1:
        got = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise UsageError(f"example={got} must be one tensor, (batch, channels, height, width)")
    if isinstance(model, Deployed):
        raise UsageError("the network is deployed; export_deployed writes it")
    if form != "auto" and form not in FORMS:
        raise UsageError(f"form={form!r} must be auto, {', '.join(FORMS)}")
    if runtime not in RUNTIMES:
        raise UsageError(f"runtime={runtime!r} must be one of {', '.join(RUNTIMES)}")
    if form == "native" and runtime != "onnxruntime":
        raise UsageError(f"form='native' is for runtime='onnxruntime'; {runtime} has no operators of {DOMAIN}")
    require(runtime)
    if threads < 1:
        raise UsageError(f"threads={threads} must be at least 1")
    others = {tensor.dtype for tensor in (example, *model.parameters())} - {torch.float32}
    if others:
        raise UsageError(
            f"the model or example is {next(iter(others))}; export float32: model.float(), example.float()"
        )
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        raise UsageError("the model is not on the CPU; export a copy of it: copy.deepcopy(model).cpu()")
    return cast(AnyForm, form)
