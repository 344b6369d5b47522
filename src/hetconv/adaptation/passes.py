"""Forward passes that are looked into: the order of the layers, and what goes into and comes out of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hetconv.errors import HetconvError, UsageError
from hetconv.foreign import describe_error


class _Enough(BaseException):
    """The pass has reached what it was for; a network's own `except Exception` does not catch it."""


@dataclass(frozen=True)
class Calls:
    """How often one pass calls a layer, and the name of the batch norm that takes its output, if there is one.

    Between the two there may be max pooling, which passes a constant on as it is.
    """

    count: int
    norm: str | None


def calls_in_order(model: nn.Module, names: Mapping[nn.Module, str], images: Tensor) -> dict[str, Calls]:
    """The named layers that a pass calls, in the order of their first calls."""
    counts: dict[str, int] = {}
    outputs: dict[int, tuple[str, Tensor]] = {}  # tensors are kept, so that no other one gets the same id
    norms: dict[str, list[str]] = {}
    norm_calls: dict[str, int] = {}
    norm_names: dict[nn.Module, str] = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }

    def layer_called(module: nn.Module, _: Any, output: Tensor) -> None:
        name = names[module]
        counts[name] = counts.get(name, 0) + 1
        outputs[id(output)] = (name, output)

    def norm_called(module: nn.Module, args: tuple[Any, ...]) -> None:
        norm = norm_names[module]
        norm_calls[norm] = norm_calls.get(norm, 0) + 1
        if args and id(args[0]) in outputs:
            norms.setdefault(outputs[id(args[0])][0], []).append(norm)

    def pool_called(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args and isinstance(output, Tensor) and id(args[0]) in outputs:
            outputs[id(output)] = (outputs[id(args[0])][0], output)

    with ExitStack() as stack:
        for module in model.modules():
            if module in names:
                stack.callback(module.register_forward_hook(layer_called).remove)
            elif isinstance(module, nn.MaxPool2d):
                stack.callback(module.register_forward_hook(pool_called).remove)
            elif module in norm_names:
                stack.callback(module.register_forward_pre_hook(norm_called).remove)
        run(model, images)
    return {
        name: Calls(count, _only_norm(norms.get(name, []), norm_calls) if count == 1 else None)
        for name, count in counts.items()
    }


def _only_norm(found: list[str], calls: Mapping[str, int]) -> str | None:
    """The one batch norm behind a layer, if its running mean can be moved for that layer alone."""
    return found[0] if len(found) == 1 and calls[found[0]] == 1 else None


def inputs_of(model: nn.Module, module: nn.Module, calls: int, images: Tensor) -> list[Tensor]:
    """What each call of the module gets; the pass ends there."""
    found: list[Tensor] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = given_to(args, kwargs)
        found.append(given.clone() if calls > 1 else given)  # a later step may change it in place
        if len(found) == calls:
            raise _Enough

    return _stopped(model, images, found, calls, lambda: module.register_forward_pre_hook(before, with_kwargs=True))


def outputs_of(model: nn.Module, module: nn.Module, calls: int, images: Tensor) -> list[Tensor]:
    """What each call of the module gives; the pass ends there."""
    found: list[Tensor] = []

    def after(_module: nn.Module, _args: Any, output: Tensor) -> None:
        found.append(output.clone() if calls > 1 else output)
        if len(found) == calls:
            raise _Enough

    return _stopped(model, images, found, calls, lambda: module.register_forward_hook(after))


def _stopped(
    model: nn.Module, images: Tensor, found: list[Tensor], calls: int, register: Callable[[], Any]
) -> list[Tensor]:
    handle = register()
    try:
        run(model, images)
    except _Enough:
        return found
    finally:
        handle.remove()
    raise HetconvError(f"one pass calls the layer {len(found)} times and another {calls} times; it cannot be refitted")


def pass_until_called(
    model: nn.Module, takers: Mapping[nn.Module, tuple[Callable[[Tensor, Tensor], None], int]], images: Tensor
) -> None:
    """One pass, in which the input and output of each call of these modules is given to the module's taker.

    The pass ends when each module was called as often as its number says; calls of one beyond that are left out.
    """
    missing = {module: calls for module, (_, calls) in takers.items()}

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        if not missing[module]:
            return
        takers[module][0](given_to(args, kwargs), output)
        missing[module] -= 1
        if not any(missing.values()):
            raise _Enough

    with ExitStack() as stack:
        for module in takers:
            stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        try:
            run(model, images)
        except _Enough:
            return
    names = [name for name, module in model.named_modules() if missing.get(module)]
    raise HetconvError(
        f"one pass calls {', '.join(names)} less often than another does; give images of one size that reach all layers"
    )


def given_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The input of a layer's call, by position or by keyword."""
    return (*args, *kwargs.values())[0]  # type: ignore[no-any-return]


def run(model: nn.Module, images: Tensor) -> Any:
    """What a model gives for a copy of the images, which it may change in place.

    Raises:
        UsageError: the model does not take the images.
    """
    try:
        return model(images.detach().clone())
    except Exception as error:
        shape = tuple(images.shape)
        raise UsageError(
            f"{type(model).__name__} does not take images of shape {shape}: {describe_error(error)}"
        ) from error


@contextmanager
def inference(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients within, each module's own mode again after.

    Within autocast no weights are kept in its type from one pass to the next: they may change between the two.
    """
    modes = {module: module.training for model in models for module in model.modules()}
    keeps_weights = torch.is_autocast_cache_enabled()
    for model in models:
        model.eval()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(keeps_weights)
        for module, training in modes.items():
            module.training = training
