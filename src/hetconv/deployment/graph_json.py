"""A deployed graph as plain JSON values, and back: names from the allow-list, numbers, text and references only."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.nn import functional

from hetconv.graph.allowed import ATTRIBUTES, METHODS, PACKED, functions, name_of
from hetconv.graph.calls import PLAIN_CONVOLUTIONS, arguments, called
from hetconv.graph.structure import Slot
from hetconv.graph.values import is_number
from hetconv.ops import het_conv2d
from hetconv.ops.packed import layer_padding

_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
_SPECIAL_FLOATS = ("inf", "-inf", "nan")


LARGEST = 2**31 - 1
"""Of whole numbers in a graph: sizes, places and paddings are far below, and arithmetic with them does not overflow."""
WIDEST_PADDING = 2**12
"""On each side of an image; more than that is no network's, but keeps a machine busy for minutes."""
LONGEST_NUMBER = 512
"""Bits that what is computed from sizes may have."""


class GraphError(ValueError):
    """JSON values that are no graph; the message says what is wrong."""


def encode_graph(graph: Graph, constants: Sequence[str]) -> list[dict[str, Any]]:
    """One record a node, in order; nodes refer to earlier ones by their place.

    Args:
        constants: the targets of `get_attr` nodes, which are written as their place in this list.
    """
    places = {node: place for place, node in enumerate(graph.nodes)}
    return [_encode_node(node, places, {name: at for at, name in enumerate(constants)}) for node in graph.nodes]


def decode_graph(records: Sequence[dict[str, Any]], constants: Sequence[str]) -> Graph:
    """The graph of these records, its `get_attr` targets from `constants`.

    Raises:
        GraphError: an operation is not allowed, or a record is no record of a node.
    """
    graph = Graph()
    nodes: list[Node] = []
    lengths: dict[Node, int] = {}
    for place, record in enumerate(records):
        try:
            nodes.append(_decode_node(graph, record, nodes, constants))
            _check_numbers(nodes[-1], lengths)
        except GraphError as error:
            raise GraphError(f"node {place}: {error}") from error
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise GraphError(f"node {place} is no node of a graph ({type(error).__name__}: {error})") from error
    kinds = [node.op for node in nodes]
    if kinds.count("output") != 1 or kinds[-1] != "output" or "placeholder" in kinds[kinds.count("placeholder") :]:
        raise GraphError("it does not begin with its inputs and end with its output")
    return graph


def encode_value(value: Any, reference: Callable[[Node], dict[str, Any]]) -> Any:
    """An argument as a JSON value; what JSON has no word for is an object of one key."""
    if isinstance(value, Node):
        return reference(value)
    if isinstance(value, float) and str(value) in _SPECIAL_FLOATS:
        return {"float": str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, dict):
        return {"dict": [[encode_value(key, reference), encode_value(item, reference)] for key, item in value.items()]}
    if isinstance(value, tuple | torch.Size):
        return {"tuple": [encode_value(item, reference) for item in value]}
    if isinstance(value, list):
        return [encode_value(item, reference) for item in value]
    if isinstance(value, Slot):
        return {"slot": value.index}
    if isinstance(value, slice):
        return {"slice": [encode_value(part, reference) for part in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for name, memory_format in _FORMATS.items():
        if value is memory_format:
            return {"memory_format": name}
    raise TypeError(f"a {type(value).__name__} cannot be saved")


def decode_value(value: Any, nodes: Sequence[Node] = ()) -> Any:
    """The argument of a JSON value.

    Raises:
        GraphError: it is none that `encode_value` gives.
    """
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise GraphError(
            f"a whole number of {value.bit_length()} bits; sizes and places in a network have 31 at the most"
        )
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [decode_value(item, nodes) for item in value]
    if not isinstance(value, dict) or len(value) != 1:
        raise GraphError(f"{value!r} is no argument")
    ((kind, inner),) = value.items()
    if kind not in _DECODERS:
        raise GraphError(f"{kind!r} is no kind of argument")
    return _DECODERS[kind](inner, nodes)


def _node(place: Any, nodes: Sequence[Node]) -> Node:
    if not isinstance(place, int) or not 0 <= place < len(nodes):
        raise GraphError(f"it refers to node {place!r}, which is not before it")
    return nodes[place]


def _float(text: Any, _: Sequence[Node]) -> float:
    if text not in _SPECIAL_FLOATS:
        raise GraphError(f"{text!r} is no number")
    return float(text)


def _end(part: Any) -> int | None:
    """Python's own word for "to the end" of a slice, if it is that."""
    return sys.maxsize if part == sys.maxsize else None


def _dtype(name: Any, _: Sequence[Node]) -> torch.dtype:
    found = getattr(torch, name, None) if isinstance(name, str) else None
    if not isinstance(found, torch.dtype):
        raise GraphError(f"{name!r} is no type of a tensor")
    return found


_DECODERS: dict[str, Callable[[Any, Sequence[Node]], Any]] = {
    "node": _node,
    "float": _float,
    "dtype": _dtype,
    "tuple": lambda inner, nodes: tuple(decode_value(item, nodes) for item in inner),
    "dict": lambda inner, nodes: {decode_value(key, nodes): decode_value(item, nodes) for key, item in inner},
    "slice": lambda inner, nodes: slice(*(_end(part) or decode_value(part, nodes) for part in inner)),
    "slot": lambda inner, _: Slot(int(inner)),
    "ellipsis": lambda *_: Ellipsis,
    "device": lambda inner, _: torch.device(inner),
    "memory_format": lambda inner, _: _FORMATS[inner],
}


def _encode_node(node: Node, places: dict[Node, int], constants: dict[str, int]) -> dict[str, Any]:
    def reference(used: Node) -> dict[str, Any]:
        return {"node": places[used]}

    if node.op == "placeholder":
        return {"input": True}
    if node.op == "get_attr":
        return {"constant": constants[str(node.target)]}
    args = encode_value(list(node.args), reference)
    if node.op == "output":
        return {"output": args[0]}
    kwargs = {key: encode_value(item, reference) for key, item in node.kwargs.items()}
    if node.op == "call_method":
        return {"method": str(node.target), "args": args, "kwargs": kwargs}
    name = name_of(node.target)
    assert name is not None, f"{node.target} was captured without being allowed"
    return {"function": name, "args": args, "kwargs": kwargs}


def _decode_node(graph: Graph, record: dict[str, Any], nodes: Sequence[Node], constants: Sequence[str]) -> Node:
    if "input" in record:
        return graph.placeholder(f"x{len(nodes)}")
    if "constant" in record:
        return graph.get_attr(constants[_index(record["constant"], len(constants))])
    if "output" in record:
        return graph.create_node("output", "output", (decode_value(record["output"], nodes),))
    args = tuple(decode_value(record["args"], nodes))
    kwargs = {key: decode_value(item, nodes) for key, item in record["kwargs"].items()}
    for key in kwargs:
        # Python reads other letters in a name as their plain forms, so that ｏｕｔ would be out
        if not key.isascii() or not key.isidentifier() or keyword.iskeyword(key) or key == "out":
            raise GraphError(f"{key!r} is no name of an argument")
    if "method" in record:
        if record["method"] not in METHODS:
            raise GraphError(f"the tensor method {record['method']!r} is not allowed")
        if not args or not isinstance(args[0], Node):
            raise GraphError(f"{record['method']} is called on no tensor")
        return graph.call_method(record["method"], args, kwargs)
    function = functions().get(record["function"])
    if function is None:
        raise GraphError(f"the function {record['function']!r} is not allowed")
    if function is getattr and (len(args) != 2 or args[1] not in ATTRIBUTES or not isinstance(args[0], Node)):
        raise GraphError(f"the attribute {args[1:]} is not allowed")
    return graph.call_function(function, args, kwargs)


def _check_numbers(node: Node, lengths: dict[Node, int]) -> None:
    """Refuse what would compute for minutes; `lengths` has the bits of values that are numbers."""
    if is_number(node):
        lengths[node] = _length(node, lengths)
        if lengths[node] > LONGEST_NUMBER:
            raise GraphError(f"it computes a number of {lengths[node]} bits from sizes")
    paddings: Any = ()
    if node.target is functional.pad:
        paddings = node.args[1] if len(node.args) > 1 else node.kwargs.get("pad", ())
    elif node.target in PLAIN_CONVOLUTIONS or node.target is het_conv2d:
        paddings = arguments(node)["padding"]
    elif node.target is functions().get(PACKED):
        numbers: Any = node.args[4]
        paddings = layer_padding(numbers)
    if any(abs(number) > WIDEST_PADDING for number in _whole_numbers(paddings)):
        raise GraphError(f"it pads an image by more than {WIDEST_PADDING}")


def _length(node: Node, lengths: dict[Node, int]) -> int:
    """At most how many bits a number has that is computed from sizes."""
    bits = [lengths.get(arg, 63) if isinstance(arg, Node) else _bits(arg) for arg in node.args]
    name = called(node)
    if name == "mul":
        return sum(bits)
    if name == "pow":
        exponent = node.args[1]
        return bits[0] * int(abs(exponent)) if isinstance(exponent, int | float) else LONGEST_NUMBER + 1
    return max(bits, default=0) + 1 if name in ("add", "sub") else max([63, *bits])


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _whole_numbers(item)
    elif isinstance(value, int):
        yield value


def _index(place: Any, count: int) -> int:
    if not isinstance(place, int) or not 0 <= place < count:
        raise GraphError(f"there is no constant {place!r}")
    return place
