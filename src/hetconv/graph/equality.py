"""Whether a changed network computes what the original does: one error budget, relative to the original's own error."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.errors import HetconvError

FACTOR = 4.0
"""Allowed times the original's own error: Winograd's transforms round two to four times as much as summing tap by tap,
and folding and other orders of sums round as often as the original does."""
FLOOR = 8 * 2.0**-24
"""Relative: eight roundings, for networks whose own error happens to be nothing."""
WITHOUT_FLOAT64 = 1e-4
"""Relative, against the original itself: what hundreds of layers of float32 rounding add up to at most."""
ANOTHER_COMPUTATION = 1e-2
"""Relative, of float32 from float64: with more, the network computes something else in float64, random numbers say."""
FOREIGN_KERNELS = 1e-4
"""Relative, for runtimes whose kernels are not known: Winograd on larger squares rounds ten times as much and more. One
wrong channel or weight changes outputs by percents."""
IN_FLOAT64, ITSELF = "the original in float64", "the original in float32"


@dataclass(frozen=True)
class Reference:
    """What a network computes of some inputs, and how far another one may be from that.

    Errors are root mean squares over that of the right values, the largest over all outputs.

    Attributes:
        given: the network's outputs, as it returned them.
        exact: the tensors among them in float64; where the network does not run in it or computes something else,
            as they were.
        own_error: of the original in float32, the larger one of two orders of summation.
        budget: the allowed error, of our kernels and PyTorch's.
        against: what `exact` is, in words.
    """

    given: Any
    exact: tuple[Tensor, ...]
    own_error: float
    budget: float
    against: str

    def error(self, value: Any) -> float | None:
        """How far other outputs are; None if they are of another form."""
        tensors = tensors_in(value)
        if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in self.exact]:
            return None
        return relative_error(tensors, self.exact)


def reference(network: nn.Module, args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Reference:
    """What the network computes; it, its arguments and the state of random numbers are left as they are.

    Raises:
        HetconvError: an output is not finite.
        Exception: whatever the network raises.
    """
    call = args, {} if kwargs is None else kwargs
    given = run(network, call)
    tensors = tensors_in(given)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise HetconvError("an output is not finite")
    exact = _tried(lambda: run(copy.deepcopy(network).double(), _map(_double, call)))
    in_float64 = exact is not None and _shapes(tensors_in(exact)) == _shapes(tensors)
    in_float64 = in_float64 and relative_error(tensors, tensors_in(exact)) <= ANOTHER_COMPUTATION
    right = tensors_in(exact) if in_float64 else tensors
    own = relative_error(tensors, right)
    other = _tried(lambda: _in_another_order(network, call))
    if other is not None and _shapes(tensors_in(other)) == _shapes(tensors):
        own = max(own, relative_error(tensors_in(other), right))
    budget = FACTOR * own + FLOOR
    if not in_float64:
        budget = max(budget, WITHOUT_FLOAT64)
    return Reference(given, tuple(right), own, budget, IN_FLOAT64 if in_float64 else ITSELF)


def run(network: Callable[..., Any], call: tuple[Sequence[Any], dict[str, Any]]) -> Any:
    """What the network returns of a copy of the arguments, with the same random numbers at each call."""
    args, kwargs = copy.deepcopy(call)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return network(*args, **kwargs)


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor in an output, in one order: in lists, tuples, dicts, and objects' attributes."""
    return list(_tensors(value, 0))


def _tensors(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value.detach()
        return
    if depth > 8:
        return
    if isinstance(value, dict):
        inner: Any = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in fields(value)]
    else:
        inner = vars(value).values() if hasattr(value, "__dict__") and not isinstance(value, type | nn.Module) else ()
    for item in inner:
        yield from _tensors(item, depth + 1)


def relative_error(got: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The largest root mean square error of an output, over the output's own root mean square."""
    errors = [0.0]
    for mine, other in zip(got, right, strict=True):
        if other.numel():
            scale = float(other.double().norm())
            off = float((mine.double() - other.double()).norm())
            errors.append(0.0 if off == 0 else off / scale if scale > 0 else float("inf"))
    return max(errors, key=lambda error: (error != error, error))


def other_batch(args: Sequence[Any]) -> Any:
    """The arguments with another batch size, the first image of several, or one and itself mirrored.

    None where the first argument is no tensor of at least two dimensions.
    """
    first = args[0] if args else None
    if not isinstance(first, Tensor) or first.dim() < 2 or len(first) == 0:
        return None
    batch = len(first)

    def changed(tensor: Tensor) -> Tensor:
        if tensor.dim() == 0 or tensor.shape[0] != batch:
            return tensor
        return tensor[:1] if batch > 1 else torch.cat((tensor, tensor.flip(-1) if tensor.dim() > 1 else tensor))

    return _map(changed, args)


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    return torch.utils._pytree.tree_map_only(Tensor, function, value)


def _shapes(tensors: Sequence[Tensor]) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors]


def _tried(compute: Callable[[], Any]) -> Any:
    """None where a network does not take another type or memory format: it may raise anything then."""
    try:
        return compute()
    except Exception:
        return None


def _in_another_order(network: nn.Module, call: tuple[Sequence[Any], dict[str, Any]]) -> Any:
    """The outputs by PyTorch's other kernels, on channels-last images: they add up in another order."""
    with _without_onednn():
        return run(network, _map(_channels_last, call))


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


@contextmanager
def _without_onednn() -> Iterator[None]:
    onednn: Any = torch.backends.mkldnn
    before, onednn.enabled = onednn.enabled, False
    try:
        yield
    finally:
        onednn.enabled = before
