"""Following a module's code as torch.fx does, with what its tracer loses: operators in place, and known lengths."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch.fx import Node, Proxy, Tracer
from torch.fx.proxy import Attribute

from hetconv.errors import UsageError
from hetconv.foreign import LONGEST_MESSAGE, describe_error
from hetconv.graph.positional import by_position
from hetconv.plain_text import one_line


class CaptureError(UsageError):
    """A module cannot become a graph of values; the message is the reason."""


class ValueTracer(Tracer):
    """A tracer whose values record `x += y` as a write in place, which a second name of `x` sees.

    torch.fx records a plain addition, since its values know no such operators.
    """

    def proxy(self, node: Node) -> Proxy:
        return _Value(node, self)

    def create_node(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *named: Any, **names: Any
    ) -> Node:
        others = dict(kwargs)
        return super().create_node(kind, target, by_position(kind, target, args, others), others, *named, **names)

    def iter(self, obj: Proxy) -> Iterator[Any]:
        value: Any = obj
        length = known_length(obj.node)
        return super().iter(obj) if length is None else (value[index] for index in range(length))


def known_length(node: Node) -> int | None:
    """How many tensors a call gives, where its arguments say so; None where the input decides.

    A `chunk` of very few channels gives fewer than it was asked for: then reading the missing ones fails.
    """
    if node.target not in ("chunk", torch.chunk, "split", torch.split, "split_with_sizes"):
        return None
    name = getattr(node.target, "__name__", node.target)
    key = "chunks" if name == "chunk" else "split_size_or_sections"
    asked = node.args[1] if len(node.args) > 1 else node.kwargs.get(key, node.kwargs.get("split_size"))
    if name == "chunk":
        return asked if isinstance(asked, int) else None
    return len(asked) if isinstance(asked, list | tuple) else None


class _WithOperators(Proxy):
    """What torch.fx's values lack."""

    def __len__(self) -> int:
        length = known_length(self.node)
        return super().__len__() if length is None else length

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise CaptureError("it assigns to a part of a tensor, x[…] = y, which a graph of values cannot")


def _recorded(function: Callable[..., Any]) -> Callable[[Proxy, Any], Any]:
    def write(self: Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return write


IN_PLACE_OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
}
"""Each with the operator that leaves its arguments alone."""

for _function in IN_PLACE_OPERATORS:
    setattr(_WithOperators, f"__{_function.__name__}__", _recorded(_function))


class _Value(_WithOperators):
    def __getattr__(self, k: str) -> Attribute:
        return _ValueAttribute(self, k)


class _ValueAttribute(Attribute, _WithOperators):
    def __getattr__(self, k: str) -> Attribute:
        return _ValueAttribute(self, k)


def reason_of(error: Exception) -> str:
    """Why a module's code could not be followed, in one line."""
    if isinstance(error, CaptureError):
        return str(error)
    if isinstance(error, torch.fx.proxy.TraceError):
        return CONTROL_FLOW if "control flow" in str(error) else "it iterates over something of unknown length"
    if "'len' is not supported" in str(error):
        return "it asks for the length of something that only its input decides"
    if isinstance(error, TypeError) and "Proxy" in str(error):
        return f"{CONTROL_FLOW} ({one_line(str(error), LONGEST_MESSAGE)})"
    return describe_error(error)


CONTROL_FLOW = "its control flow depends on the values or sizes of its input"
