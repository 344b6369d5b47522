"""How a network's modules are called on the example."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.deployment.signature import Signature
from hetconv.errors import UsageError
from hetconv.foreign import describe_error
from hetconv.graph.structure import has_numbers, take_out
from hetconv.graph.tracing import CaptureError

Calls = dict[nn.Module, Signature | str]
"""How each module is called, or why that cannot be said; modules that are never called are not there."""


def signatures(model: nn.Module, args: tuple[Any, ...]) -> Calls:
    """Run the model, and see how each of its modules is called.

    Raises:
        UsageError: the model does not take the arguments.
    """
    found: Calls = {}

    def see(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        before = found.get(module)
        if isinstance(before, str):
            return
        try:
            now = Signature.of(given, named)
            if module is not model and has_numbers(now.structure):
                raise CaptureError("it is called with a number, which may be another one for other images")
            found[module] = now if before is None else before.joined_with(now)
        except CaptureError as error:
            found[module] = str(error)

    _run(model, args, model.modules(), see)
    return found


def inputs(model: nn.Module, args: tuple[Any, ...], modules: Iterable[nn.Module]) -> dict[nn.Module, list[Tensor]]:
    """The tensors that each of these modules is first called with, as they were then."""
    found: dict[nn.Module, list[Tensor]] = {}

    def see(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if module not in found:
            tensors: list[Tensor] = []
            take_out((given, named), tensors)
            found[module] = [tensor.detach().clone() for tensor in tensors]

    _run(model, args, modules, see)
    return found


def _run(model: nn.Module, args: tuple[Any, ...], modules: Iterable[nn.Module], see: Any) -> None:
    with ExitStack() as stack:
        for module in modules:
            if isinstance(module, torch.jit.ScriptModule):  # takes no such hook
                continue
            stack.enter_context(_removing(module.register_forward_pre_hook(see, with_kwargs=True)))
        stack.enter_context(torch.no_grad())
        try:
            model(*copy.deepcopy(args))  # it may write to them
        except Exception as error:
            raise UsageError(
                f"the model does not take the example{shapes_in_words(args)}: {describe_error(error)}"
            ) from error


def _removing(handle: Any) -> ExitStack:
    stack = ExitStack()
    stack.callback(handle.remove)
    return stack


def shapes_in_words(args: tuple[Any, ...]) -> str:
    """` of shape (1, 3, 32, 32)`, or nothing where the arguments are not tensors only."""
    if not args or not all(isinstance(arg, Tensor) for arg in args):
        return ""
    return f" of shape {' and '.join(str(tuple(arg.shape)) for arg in args)}"
