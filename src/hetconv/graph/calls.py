"""Reading calls in a graph: which operation a node is, by function, method or module, and its arguments by name."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.nn import functional

from hetconv.graph.allowed import describe
from hetconv.graph.operations import ALIASES, ARGUMENTS, DEFAULTS, MODULES
from hetconv.graph.tracing import IN_PLACE_OPERATORS
from hetconv.ops import het_conv2d, packed

PLAIN_CONVOLUTIONS: dict[Any, str] = {functional.conv1d: "1-d", functional.conv2d: "2-d", functional.conv3d: "3-d"}
CONVOLUTIONS: dict[Any, str] = {
    **PLAIN_CONVOLUTIONS,
    functional.conv_transpose1d: "1-d transposed",
    functional.conv_transpose2d: "transposed",
    functional.conv_transpose3d: "3-d transposed",
    het_conv2d: "het",
}
RELU, RELU6 = "relu", "relu6"
ACTIVATIONS = frozenset(name for name in packed.ACTIVATIONS if name is not None)
"""Those that join a layer of the native kernels."""
_IN_ANOTHER_ORDER = frozenset((torch.batch_norm, torch.group_norm, torch.instance_norm, torch.layer_norm))
"""They have the names of functions of `torch.nn.functional`, but other arguments, or no names for them."""
_FOREIGN = frozenset(("stochastic_depth",))
"""Functions of other libraries, registered with torch.fx by their name."""


@dataclass(frozen=True)
class Held:
    """A parameter or buffer of a network, by its full name."""

    name: str


@dataclass(frozen=True)
class Operation:
    """What a node computes: the same for a module, a function, a method, and the function that writes in place.

    Attributes:
        name: one of those in `operations`, or PyTorch's own name of another function.
        arguments: by name, those that are known; tensors that the network holds are `Held`.
    """

    name: str
    arguments: Mapping[str, Any]

    def __getitem__(self, argument: str) -> Any:
        return self.arguments.get(argument)

    @property
    def held(self) -> tuple[str, ...]:
        """The names of all tensors of the network that it reads."""
        return tuple(value.name for value in self.arguments.values() if isinstance(value, Held))


def operation(node: Node, modules: Mapping[str, nn.Module]) -> Operation | None:
    """The operation of a node; None if it is none of PyTorch's or of this package."""
    if node.op == "call_module":
        return _of_module(node, modules[str(node.target)])
    name = _own_name(node)
    if name is None:
        return None
    try:
        given = {key: _held(value) for key, value in arguments(node).items()}
    except (TypeError, ValueError):  # only some operations have names for their arguments
        given = {}
    return Operation(name, {"input": node.args[0] if node.args else None} | given)


def _of_module(node: Node, module: nn.Module) -> Operation | None:
    inputs = (*node.args, *node.kwargs.values())
    if type(module) not in MODULES or len(inputs) != 1:
        return None
    name, names = MODULES[type(module)]
    given: dict[str, Any] = {"input": _held(inputs[0])}
    for text in names:
        argument, _, attribute = text.partition("=")
        value = getattr(module, attribute or argument)
        is_held = value is not None and argument in {**module._parameters, **module._buffers}
        given[argument] = Held(f"{node.target}.{argument}") if is_held else value
    if name in ("batch_norm", "instance_norm"):
        given["training"] = module.training or given["running_mean"] is None
    return Operation(name, given)


def has_hooks(node: Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether code of others runs before or after the module that a node calls, and meets its values."""
    module = modules[str(node.target)] if node.op == "call_module" else None
    return module is not None and bool(module._forward_pre_hooks or module._forward_hooks)


def _held(value: Any) -> Any:
    return Held(str(value.target)) if isinstance(value, Node) and value.op == "get_attr" else value


def _own_name(node: Node) -> str | None:
    target: Any = IN_PLACE_OPERATORS.get(node.target, node.target)
    if node.op == "call_method":
        return str(target).removesuffix("_")
    if node.op != "call_function" or target in _IN_ANOTHER_ORDER:
        return None
    name: str = getattr(target, "__name__", "")
    if target in (het_conv2d, getattr) or name in _FOREIGN or getattr(operator, name, None) is target:
        return name
    own = any(getattr(holder, name, None) is target for holder in (functional, torch))
    return name.removesuffix("_") if own else None


def called(node: Any) -> str:
    """What a node calls, without its module: `relu` for torch.relu, functional.relu and tensor.relu alike."""
    if not isinstance(node, Node):
        return ""
    if node.op == "call_method":
        return str(node.target)
    return describe(node.target).rpartition(".")[2] if node.op == "call_function" else ""


def convolution_kind(node: Node) -> str | None:
    """1-d, 2-d, 3-d, transposed or het; None if the node is no convolution."""
    return CONVOLUTIONS.get(node.target) if node.op == "call_function" else None


@cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a call by name: with all defaults where Python knows the signature, and of convolutions.

    Raises:
        ValueError, TypeError: Python does not know the function's signature, nor does this package.
    """
    name = called(node).removesuffix("_")
    if name in ARGUMENTS:
        given: dict[str, Any] = dict(zip(ARGUMENTS[name], node.args, strict=False))
        return DEFAULTS.get(name, {}) | given | {ALIASES.get(key, key): value for key, value in node.kwargs.items()}
    if node.op == "call_method":
        raise ValueError(f"the arguments of the method {node.target} have no names")
    assert callable(node.target)
    bound = _signature(node.target).bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def set_arguments(node: Node, given: dict[str, Any]) -> None:
    """Give the call of a convolution or linear layer these arguments: its input by position, the others by name."""
    first = "x" if node.target is het_conv2d else "input"
    node.args, node.kwargs = (given[first],), {key: value for key, value in given.items() if key != first}


def activation(node: Node) -> str | None:
    """One of `ACTIVATIONS`, in any of the ways of writing it; None if the node is something else."""
    name = called(node)
    if name == "hardtanh" and node.target is functional.hardtanh:
        found = arguments(node)
        return RELU6 if (found["min_val"], found["max_val"]) == (0, 6) else None
    if name in ("clamp", "clip"):
        found = arguments(node)
        bounds = found.get("min"), found.get("max")
        return RELU6 if bounds == (0, 6) else RELU if bounds == (0, None) else None
    if name == "gelu" and (len(node.args) > 1 or node.kwargs.get("approximate", "none") != "none"):
        return None
    return name if name in ACTIVATIONS else None


def is_batch_norm(node: Any) -> bool:
    return isinstance(node, Node) and node.target is functional.batch_norm


def module_of(node: Node) -> str:
    """The full name of the module whose code made the call."""
    stack = node.meta.get("nn_module_stack")
    return str(next(reversed(stack.values()))[0]) if stack else ""
