"""Channels-last inside: converted where a value would reach a convolution in another layout, and nowhere else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.deployment.packed_calls import is_packed_call
from hetconv.graph.calls import convolution_kind
from hetconv.graph.captured import Captured, evaluate


def make_channels_last(captured: Captured, inputs: list[Tensor]) -> None:
    """Insert conversions by what a run on the inputs shows; inputs that are images are always converted.

    Constants become the graph's own, channels-last too.
    """
    wanted = {node.args[0] for node in captured.graph.nodes if is_packed_call(node) or convolution_kind(node) == "2-d"}
    found: list[Node] = []

    def convert(node: Node, value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() == 4 and node in wanted and node.op != "get_attr":
            if node.op == "placeholder" or not value.is_contiguous(memory_format=torch.channels_last):
                found.append(node)
            return value.contiguous(memory_format=torch.channels_last)
        return value

    with torch.no_grad():
        evaluate(captured, inputs, convert)
    for node in found:
        with captured.graph.inserting_after(_last_of(captured, node)):
            new = captured.graph.call_method("contiguous", (node,), {"memory_format": torch.channels_last})
        for user in [user for user in node.users if user is not new]:
            user.replace_input_with(node, new)
    for name, value in captured.constants.items():
        captured.constants[name] = in_layout(value)


def in_layout(value: Tensor) -> Tensor:
    """A constant in memory of its own: channels-last where it has four dimensions, as kernels of convolutions do.

    Its strides are those of channels-last memory also where one channel leaves a choice.
    """
    return value.clone(memory_format=torch.channels_last if value.dim() == 4 else torch.contiguous_format)


def _last_of(captured: Captured, node: Node) -> Node:
    """Where a conversion of the node's value goes: after it, and after all placeholders."""
    return captured.placeholders[-1] if node.op == "placeholder" else node
