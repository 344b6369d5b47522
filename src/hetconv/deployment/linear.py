"""Linear layers as convolutions of one pixel, so that the packed operator computes them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.fx import Node
from torch.nn import functional

from hetconv.graph.calls import arguments
from hetconv.graph.captured import Captured
from hetconv.graph.shapes import SHAPES, Shapes, shapes_of


def make_convolutions(captured: Captured) -> set[Node]:
    """Replace linear layers of (batch, numbers) with constant weights; returns the convolutions."""
    made = set()
    for node in list(captured.graph.nodes):
        if node.op == "call_function" and node.target is functional.linear:
            given = arguments(node)
            shapes, result = shapes_of(given["input"]), shapes_of(node)
            weight, bias = captured.constant(given["weight"]), given["bias"]
            constant = weight is not None and (bias is None or captured.constant(bias) is not None)
            if constant and shapes is not None and result is not None and len(shapes.example) == 2:
                made.add(_replace(captured, node, given["input"], given["weight"], bias, shapes))
    captured.drop_unused()
    return made


def _replace(captured: Captured, node: Node, value: Node, weight: Node, bias: Node | None, shapes: Shapes) -> Node:
    graph, matrix = captured.graph, captured.constants[str(weight.target)]
    name = captured.add_constant(str(weight.target), matrix[:, :, None, None])
    with graph.inserting_before(node):
        kernel = graph.get_attr(name)
        pixel = graph.call_method("reshape", (value, -1, matrix.shape[1], 1, 1))
        convolution = graph.call_function(functional.conv2d, (pixel, kernel, bias))
        numbers = graph.call_function(torch.flatten, (convolution, 1))
    for new in (pixel, convolution, numbers):
        new.meta = dict(node.meta)
    pixel.meta[SHAPES] = _as_pixels(shapes)
    convolution.meta[SHAPES] = _as_pixels(node.meta[SHAPES])
    node.replace_all_uses_with(numbers)
    graph.erase_node(node)
    return convolution


def _as_pixels(shapes: Shapes) -> Shapes:
    others = tuple(None if other is None else (*other, 1, 1) for other in shapes.others)
    return replace(shapes, example=(*shapes.example, 1, 1), others=others, channels_last=True)
