"""Reading and changing nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def constant(value: Any) -> NDArray[Any] | None:
    """The numbers of a value that no input of the network changes; None of any other."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """An attribute as a plain value; lists are tuples."""
    found = node.attributes.get(name)
    if found is None:
        return default
    return tuple(found.value) if isinstance(found.value, list | tuple) else found.value


def only_user(value: Any) -> Any:
    """The node that alone reads a value; None if several do, or the value is an output of the network."""
    users = {use.node for use in value.uses()}
    return users.pop() if len(users) == 1 and not value.is_graph_output() else None


def rank(value: Any) -> int | None:
    """How many dimensions a value has; None if that is not known."""
    return None if value is None or value.shape is None else len(value.shape)


def same_shape(first: Any, second: Any) -> bool:
    """Whether two values have one shape, an open batch size included."""
    return first.shape is not None and second.shape is not None and list(first.shape) == list(second.shape)


def insert_before(
    place: Any, operator: str, inputs: Sequence[Any], attributes: dict[str, Any], domain: str, like: Any
) -> Any:
    """A new node before another, with one output of the type and shape of the value `like`; returns that output."""
    import onnx_ir as ir

    node = ir.node(operator, inputs, attributes, domain=domain)
    output = node.outputs[0]
    output.type, output.shape = like.type, None if like.shape is None else ir.Shape(list(like.shape))
    place.graph.insert_before(place, node)
    return output


def new_constant(graph: Any, name: str, value: NDArray[Any]) -> Any:
    """A new initializer; its name is made different from those there."""
    import onnx_ir as ir

    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(np.ascontiguousarray(value), name=name)
    made = ir.Value(name=name, shape=ir.Shape(value.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(made)
    return made


def replace(old: Any, new: Any) -> None:
    """Have everything that reads a value, the network's outputs included, read another."""
    import onnx_ir as ir

    if old.is_graph_output() and old.name is not None:
        old.name, new.name = f"{old.name}_before", old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
