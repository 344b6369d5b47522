"""A network of standard layers as ONNX bytes, by PyTorch's own exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.foreign import describe_error

INPUT, OUTPUT, BATCH = "input", "output", "batch"
LARGEST = 2**31 - 1
"""Bytes of a protobuf message."""


def to_onnx(
    network: nn.Module, example: Tensor, rewrite: Callable[[Any], None] | None = None, domain: str = ""
) -> bytes:
    """Export, with the batch dimension left open, check with `onnx.checker`, and return the file's bytes.

    Args:
        rewrite: is given what was exported, an onnx_ir model, to change it.
        domain: of operators beside the standard ones that it may have.

    Raises:
        UsageError: the exporter cannot capture the network, the model is invalid, or larger than a file may be.
    """
    pair = example if example.shape[0] > 1 else torch.cat((example, example))  # a batch of 1 would be taken as fixed
    batch = ({0: torch.export.Dim(BATCH)},)
    program = _exported(network, (pair,), input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=batch)
    if rewrite is not None:
        rewrite(program.model)
    proto = program.model_proto
    _strip(proto)
    return checked_bytes(proto, domain)


def checked_bytes(proto: Any, domain: str) -> bytes:
    """The bytes of an ONNX model that is valid, and has operators of the standard and of one other domain only.

    Raises:
        UsageError: it is not, or larger than a file may be.
    """
    import onnx

    if proto.ByteSize() > LARGEST:
        raise UsageError(f"the ONNX model has {proto.ByteSize():,} bytes; one file holds at most {LARGEST:,}")
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UsageError(f"the exported model is not valid ONNX: {_first(error)}") from error
    foreign = {node.domain for node in proto.graph.node} - {"", "ai.onnx", domain}
    if foreign:
        raise UsageError(f"the exported model has operators outside of standard ONNX: {', '.join(sorted(foreign))}")
    return proto.SerializeToString()  # type: ignore[no-any-return]


def layers_to_onnx(layers: Sequence[nn.Module], examples: Sequence[Tensor]) -> tuple[bytes, ...]:
    """Each layer as a small ONNX model for a batch of its example's size.

    They are exported as one network and then cut apart, since an export takes seconds however small it is.

    Raises:
        UsageError: the exporter cannot capture one of them.
    """
    import onnx
    from onnx.utils import Extractor

    numbers = range(len(layers))
    inputs, outputs = [f"{INPUT}{at}" for at in numbers], [f"{OUTPUT}{at}" for at in numbers]
    program = _exported(_Apart(layers), tuple(examples), input_names=inputs, output_names=outputs)
    proto = program.model_proto
    _strip(proto)
    extractor = Extractor(onnx.shape_inference.infer_shapes(proto))
    return tuple(
        extractor.extract_model([name], [output]).SerializeToString()
        for name, output in zip(inputs, outputs, strict=True)
    )


class _Apart(nn.Module):
    """Layers that have nothing to do with each other, each with an input and an output of its own."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer, x in zip(self.layers, inputs, strict=True))


def versions(model: bytes) -> tuple[int, int]:
    """Opset and IR version of an ONNX model."""
    import onnx

    proto = onnx.load_model_from_string(model)
    return next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), proto.ir_version


def _exported(network: nn.Module, args: tuple[Tensor, ...], **options: Any) -> Any:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(network, args, dynamo=True, verbose=False, **options)
    except Exception as error:
        raise UsageError(f"{type(network).__name__} cannot be exported by torch.onnx: {_first(error)}") from error
    finally:
        logger.setLevel(level)
    assert program is not None
    return program


def _first(error: Exception) -> str:
    """What an exporter says in many lines, in one."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return describe_error(cause)


def _strip(proto: Any) -> None:
    """Drop what the exporter notes of source files and module paths."""
    proto.graph.ClearField("doc_string")
    for holder in (
        proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info,
        *proto.graph.initializer,
    ):  # fmt: skip
        del holder.metadata_props[:]
