"""Linear layers as convolutions of 1×1, so that the kernels of convolutions compute them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch.fx import Node
from torch.nn import functional

from hetconv.graph.calls import arguments
from hetconv.graph.captured import Captured
from hetconv.graph.shapes import SHAPES, Shapes, shapes_of


def make_convolutions(captured: Captured, dimensions: Collection[int] = (2, 4)) -> set[Node]:
    """Replace linear layers with constant weights; returns the convolutions.

    Args:
        dimensions: of their inputs: (batch, numbers) has 2, (batch, height, width, channels) has 4.
    """
    made = set()
    for node in list(captured.graph.nodes):
        if node.op == "call_function" and node.target is functional.linear:
            given = arguments(node)
            shapes, result = shapes_of(given["input"]), shapes_of(node)
            weight, bias = captured.constant(given["weight"]), given["bias"]
            constant = weight is not None and (bias is None or captured.constant(bias) is not None)
            if constant and shapes is not None and result is not None and len(shapes.example) in dimensions:
                made.add(_replace(captured, node, given["input"], given["weight"], bias, shapes))
    captured.drop_unused()
    return made


def _replace(captured: Captured, node: Node, value: Node, weight: Node, bias: Node | None, shapes: Shapes) -> Node:
    graph, matrix = captured.graph, captured.constants[str(weight.target)]
    name = captured.add_constant(str(weight.target), matrix[:, :, None, None])
    pixels = len(shapes.example) == 4
    with graph.inserting_before(node):
        kernel = graph.get_attr(name)
        shape = ("permute", (value, 0, 3, 1, 2)) if pixels else ("reshape", (value, -1, matrix.shape[1], 1, 1))
        images = graph.call_method(*shape)
        convolution = graph.call_function(functional.conv2d, (images, kernel, bias))
        numbers = (
            graph.call_method("permute", (convolution, 0, 2, 3, 1))
            if pixels
            else graph.call_function(torch.flatten, (convolution, 1))
        )
    for new in (images, convolution, numbers):
        new.meta = dict(node.meta)
    images.meta[SHAPES] = _as_images(shapes)
    convolution.meta[SHAPES] = _as_images(node.meta[SHAPES])
    node.replace_all_uses_with(numbers)
    graph.erase_node(node)
    return convolution


def _as_images(shapes: Shapes) -> Shapes:
    example, *others = (None if shape is None else _of_images(shape) for shape in (shapes.example, *shapes.others))
    assert example is not None
    return replace(shapes, example=example, others=tuple(others), channels_last=True)


def _of_images(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(batch, numbers) as images of one pixel; or with the channels after the batch."""
    return (*shape, 1, 1) if len(shape) == 2 else (shape[0], shape[3], *shape[1:3])
