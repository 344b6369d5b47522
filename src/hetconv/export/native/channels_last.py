"""Images channels-last from layer to layer: transposed where they enter a run of layers and where they leave it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hetconv.export.native.form import DOMAIN
from hetconv.export.native.fuse import is_layer
from hetconv.export.native.nodes import attribute, constant, insert_before, new_constant, rank, replace
from hetconv.graph.operations import is_elementwise_in_onnx

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
AXIS = (0, 3, 1, 2)
"""Where each dimension of (B, C, H, W) is in (B, H, W, C)."""
REDUCTIONS = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"}
POOLS = {"AveragePool": "AveragePool2d", "MaxPool": "MaxPool2d"}
POOLED = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}


def make_channels_last_(graph: Any) -> int:
    """Bring layers, and what between them does not mind, to channels-last; returns how many images are transposed."""
    layout = _Layout(graph)
    for node in list(graph):
        layout.visit(node)
    layout.finish()
    return layout.transposed


class _Layout:
    """One pass through a graph, in the order of computation.

    Attributes:
        last: values that are channels-last now.
        transposed: how many values were transposed.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.last: set[Any] = set()
        self.transposed = 0
        self._entered: dict[Any, Any] = {}
        self._left: dict[Any, Any] = {}

    def visit(self, node: Any) -> None:
        if is_layer(node):
            for place in (0, 4):
                if place < len(node.inputs):
                    node.replace_input_with(place, self._as_last(node.inputs[place], node))
            self._mark(node.outputs[0])
        elif any(value in self.last for value in node.inputs):
            change = self._change(node)
            if change is not None:
                change()
                return
            for place, value in enumerate(node.inputs):
                if value in self.last:
                    node.replace_input_with(place, self._as_first(value, node))

    def finish(self) -> None:
        """Outputs of the network are as they were."""
        for output in list(self.graph.outputs):
            if output in self.last:
                import onnx_ir as ir

                node = ir.node("Transpose", [output], {"perm": TO_FIRST})
                self.graph.append(node)
                self._describe(node.outputs[0], output, TO_FIRST)
                place = self.graph.outputs.index(output)
                name, output.name = output.name, f"{output.name}_channels_last"
                node.outputs[0].name = name
                self.graph.outputs[place] = node.outputs[0]
                self.transposed += 1

    def _mark(self, value: Any) -> None:
        self._describe(value, value, TO_LAST)
        self.last.add(value)

    def _describe(self, value: Any, source: Any, order: list[int]) -> None:
        import onnx_ir as ir

        value.type = source.type
        if source.shape is not None:
            value.shape = ir.Shape([source.shape[place] for place in order])

    def _as_last(self, value: Any, node: Any) -> Any:
        return value if value in self.last else self._transposed(value, node, TO_LAST, self._entered)

    def _as_first(self, value: Any, node: Any) -> Any:
        return self._transposed(value, node, TO_FIRST, self._left)

    def _transposed(self, value: Any, node: Any, order: list[int], known: dict[Any, Any]) -> Any:
        if value not in known:
            known[value] = insert_before(node, "Transpose", [value], {"perm": order}, "", value)
            self._describe(known[value], value, order)
            self.transposed += 1
        return known[value]

    def _change(self, node: Any) -> Callable[[], None] | None:
        """What computes a node channels-last; None if it cannot be."""
        if node.domain not in ("", "ai.onnx"):
            return None
        if is_elementwise_in_onnx(node.op_type):
            return self._elementwise(node)
        if node.op_type == "Concat":
            return self._concatenation(node)
        if node.op_type in REDUCTIONS:
            return self._reduction(node)
        if node.op_type in POOLS:
            return self._pool(node)
        if node.op_type in POOLED:
            return lambda: self._pool_all(node)
        if node.op_type == "Slice":
            return self._slice(node)
        if node.op_type == "Pad":
            return self._padding(node)
        return None

    def _elementwise(self, node: Any) -> Callable[[], None] | None:
        numbers = {place: constant(value) for place, value in enumerate(node.inputs) if value is not None}
        images = [place for place, number in numbers.items() if number is None]
        if any(rank(node.inputs[place]) != 4 for place in images):
            return None

        def change() -> None:
            for place in images:
                node.replace_input_with(place, self._as_last(node.inputs[place], node))
            for place, number in numbers.items():
                if number is not None and number.size > 1:
                    spread = number.reshape((1,) * (4 - number.ndim) + number.shape).transpose(TO_LAST)
                    name = f"{node.inputs[place].name}_channels_last"
                    node.replace_input_with(place, new_constant(self.graph, name, spread))
            self._mark(node.outputs[0])

        return change

    def _concatenation(self, node: Any) -> Callable[[], None] | None:
        import onnx_ir as ir

        axis = attribute(node, "axis")
        if any(rank(value) != 4 or constant(value) is not None for value in node.inputs):
            return None

        def change() -> None:
            for place, value in enumerate(node.inputs):
                node.replace_input_with(place, self._as_last(value, node))
            node.attributes["axis"] = ir.AttrInt64("axis", AXIS[axis])
            self._mark(node.outputs[0])

        return change

    def _reduction(self, node: Any) -> Callable[[], None] | None:
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if axes is None:
            return None
        kept = attribute(node, "keepdims", 1) == 1
        if not kept and sorted(axis % 4 for axis in axes.tolist()) != [2, 3]:
            return None

        def change() -> None:
            self._set_axes(node, 1, axes)
            if kept:
                self._mark(node.outputs[0])

        return change

    def _pool(self, node: Any) -> Callable[[], None] | None:
        top, left, bottom, right = attribute(node, "pads", (0,) * 4)
        plain = set(attribute(node, "dilations", (1, 1))) == {1} and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
        kernel, ceil = attribute(node, "kernel_shape"), attribute(node, "ceil_mode", 0)
        largest = node.op_type == "MaxPool"
        narrow = 2 * top <= kernel[0] and 2 * left <= kernel[1]
        if not plain or (top, left) != (bottom, right) or not narrow or (ceil and not largest) or len(node.outputs) > 1:
            return None
        options = {"kernel": list(kernel), "stride": list(attribute(node, "strides", (1, 1))), "padding": [top, left]}
        options |= {"ceil": ceil} if largest else {"count_padding": attribute(node, "count_include_pad", 0)}
        return lambda: self._exchange(node, POOLS[node.op_type], [node.inputs[0]], options, DOMAIN)

    def _exchange(self, node: Any, operator: str, inputs: list[Any], options: dict[str, Any], domain: str = "") -> None:
        """Another operator in the place of a node."""
        made = insert_before(node, operator, inputs, options, domain, node.outputs[0])
        self._mark(made)
        replace(node.outputs[0], made)
        self.graph.remove(node, safe=True)

    def _pool_all(self, node: Any) -> None:
        """The mean or maximum of all pixels, whose operators take images channels-first only, as a reduction."""
        axes = new_constant(self.graph, "rows_and_columns", np.array([1, 2]))
        self._exchange(node, POOLED[node.op_type], [node.inputs[0], axes], {"keepdims": 1})

    def _slice(self, node: Any) -> Callable[[], None] | None:
        axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
        if axes is None:
            return None

        def change() -> None:
            self._set_axes(node, 3, axes)
            self._mark(node.outputs[0])

        return change

    def _padding(self, node: Any) -> Callable[[], None] | None:
        pads = constant(node.inputs[1])
        if pads is None or pads.size != 8 or len(node.inputs) > 3:
            return None

        def change() -> None:
            moved = pads.reshape(2, 4)[:, TO_LAST].reshape(-1)
            node.replace_input_with(1, new_constant(self.graph, f"{node.inputs[1].name}_channels_last", moved))
            self._mark(node.outputs[0])

        return change

    def _set_axes(self, node: Any, place: int, axes: Any) -> None:
        moved = np.array([AXIS[axis] for axis in axes.tolist()])
        node.replace_input_with(place, new_constant(self.graph, f"{node.inputs[place].name}_channels_last", moved))
