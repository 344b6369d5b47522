"""Standard convolutions as the operator: P=1, every filter with K×K kernels on all channels."""

from __future__ import annotations

from typing import Any

from hetconv.export.native.form import DOMAIN, OPERATOR
from hetconv.export.native.nodes import attribute, constant, insert_before, rank, replace


def take_convolutions_(graph: Any) -> int:
    """Put every standard convolution that the operator can compute onto it; returns how many there are."""
    taken = 0
    for node in list(graph):
        if node.domain in ("", "ai.onnx") and node.op_type == "Conv" and _fits(node):
            x, weight, *bias = node.inputs
            top, left = attribute(node, "pads", (0,) * 4)[:2]
            options = {
                "p": 1,
                "stride": list(attribute(node, "strides", (1, 1))),
                "padding": [top, left],
                "dilation": list(attribute(node, "dilations", (1, 1))),
                "arrangement": "shifted",
                "activation": "none",
            }
            replace(
                node.outputs[0],
                insert_before(node, OPERATOR, [x, weight, None, *bias], options, DOMAIN, node.outputs[0]),
            )
            graph.remove(node, safe=True)
            taken += 1
    return taken


def _fits(node: Any) -> bool:
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim != 4 or rank(node.inputs[0]) != 4 or str(weight.dtype) != "float32":
        return False
    top, left, bottom, right = attribute(node, "pads", (0,) * 4)
    padded = attribute(node, "auto_pad", "NOTSET") == "NOTSET" and (top, left) == (bottom, right)
    return padded and attribute(node, "group", 1) == 1 and all(size % 2 for size in weight.shape[2:])
