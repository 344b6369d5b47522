"""A whole network as one operator of ONNX Runtime: the steps of a deployed network's native call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hetconv.deployment.steps import Steps
from hetconv.export.native.form import DOMAIN, VERSION
from hetconv.export.onnx_model import BATCH, INPUT, OUTPUT, checked_bytes
from hetconv.ops import native
from hetconv.ops.native_network import Network

OPERATOR = "Network"
OPSET, IR_VERSION = 17, 8
"""Old ones, which every ONNX Runtime reads that can have the operator."""
FACTOR = 0x9E3779B97F4A7C15
"""Of the checksum, as in csrc/onnx_runtime/network.cpp."""


@dataclass(frozen=True)
class WholeNetwork:
    """What became of a network.

    Attributes:
        steps: of the one operator.
        layers: how many of them are convolutions and linear layers.
    """

    steps: int
    layers: int

    @classmethod
    def of(cls, steps: Steps) -> WholeNetwork:
        return cls(len(steps.steps), sum(step.kind.endswith("convolution") for step in steps.steps))

    def __str__(self) -> str:
        return f"on the native kernels: all of it, as one operator of {self.steps} steps, {self.layers} of them layers"


def whole_to_onnx(steps: Steps, example: Tensor) -> bytes:
    """The network as an ONNX file's bytes: one operator, and what makes its output that of the network.

    The batch size is open; height and width are the example's.

    Raises:
        UsageError: the steps do not take the example, or the file is larger than a file may be.
    """
    from onnx import TensorProto, helper

    y = Network(steps.in_channels, steps.steps)(example)
    sizes = [y.shape[1]] if steps.flat else list(y.shape[1:])
    to_output = (
        helper.make_node("Flatten", ["channels_last"], [OUTPUT], axis=1)
        if steps.flat
        else helper.make_node("Transpose", ["channels_last"], [OUTPUT], perm=[0, 3, 1, 2])
    )
    node, weights = _operator(steps)
    graph = helper.make_graph(
        [node, to_output], "network",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [BATCH, *example.shape[1:]])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, *sizes])],
        weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return checked_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), DOMAIN)


def _operator(steps: Steps) -> tuple[Any, list[Any]]:
    """The node, and its weights as initializers."""
    from onnx import AttributeProto, helper, numpy_helper

    arrays = [[array.contiguous() for array in step.natural_arrays] for step in steps.steps]
    kinds = " ".join(step.kind for step in steps.steps)
    counts = [
        number
        for step, its in zip(steps.steps, arrays, strict=True)
        for number in (*step.counts[:3], len(its))
    ]  # fmt: skip
    lists: dict[str, NDArray[Any]] = {
        "counts": np.array(counts, np.int64),
        "inputs": np.array([value for step in steps.steps for value in step.inputs], np.int64),
        "numbers": np.array([number for step in steps.steps for number in step.numbers], np.int64),
        "reals": np.array([real for step in steps.steps for real in step.reals], np.float32),
    }
    pieces = [torch.from_numpy(values) for values in (np.frombuffer(kinds.encode(), np.uint8).copy(), *lists.values())]
    pieces += [array for its in arrays for array in its]
    weights = [
        numpy_helper.from_array(array.detach().numpy(), f"{number}.{step.kind}.{at}")
        for number, (step, its) in enumerate(zip(steps.steps, arrays, strict=True))
        for at, array in enumerate(its)
    ]
    node = helper.make_node(
        OPERATOR, [INPUT, *(weight.name for weight in weights)], ["channels_last"], domain=DOMAIN,
        in_channels=steps.in_channels, kinds=kinds, checksum=_checksum(pieces),
    )  # fmt: skip
    for name, values in lists.items():
        kind = AttributeProto.FLOATS if values.dtype == np.float32 else AttributeProto.INTS
        node.attribute.append(helper.make_attribute(name, values.tolist(), attr_type=kind))
    return node, weights


def _checksum(pieces: Sequence[Tensor]) -> int:
    """Of bytes in pieces, as a signed integer of 64 bits."""
    total = 0
    for piece in pieces:
        total = (total * FACTOR + native.hash_of(piece)) % 2**64
    return total - 2**64 if total >= 2**63 else total
