"""Whether a deployed network, and each part of it, computes what the original does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hetconv.deployment.deploy_report import CheckedPart
from hetconv.errors import HetconvError
from hetconv.foreign import describe_error
from hetconv.graph.equality import Reference, other_batch, reference, run, tensors_in
from hetconv.graph.structure import put_back, take_out
from hetconv.graph.tracing import CaptureError


class OverBudgetError(HetconvError):
    """A deployed network computes something else than the original, or rounds more than the budget allows."""


@dataclass(frozen=True)
class Trial:
    """Arguments of a network, and what it computes of them."""

    args: tuple[Any, ...]
    right: Reference

    @property
    def batch_size(self) -> int | None:
        """The first dimension of the first tensor; None if there is none."""
        return next((int(tensor.shape[0]) for tensor in tensors_in(self.args) if tensor.dim()), None)


def trials(original: nn.Module, args: tuple[Any, ...]) -> tuple[Trial, ...]:
    """The example, and another batch size where the network takes it.

    Raises:
        HetconvError: the original's output is not finite, or has no tensor that could be compared.
    """
    found = [Trial(args, _reference("", original, args))]
    if not found[0].right.exact:
        raise HetconvError(f"{_named('')} returns no tensor, so its deployed form cannot be compared with it")
    others = other_batch(args)
    if others is not None:
        with contextlib.suppress(Exception):  # it is for one batch size, or gives no finite output of these images
            found.append(Trial(tuple(others), reference(original, others)))
    return tuple(found)


def check_whole(deployed: Callable[..., Any], tried: tuple[Trial, ...]) -> tuple[CheckedPart, ...]:
    """Compare a deployed network with the original on every trial.

    Raises:
        HetconvError: it fails, or its error is over the budget.
    """
    return tuple(_checked("", one.right, _run_deployed(deployed, one), one.batch_size) for one in tried)


def check_part(
    name: str,
    original: nn.Module,
    deployed: nn.Module,
    structure: Any,
    inputs: list[Tensor],
    known: Reference | None = None,
) -> CheckedPart:
    """Compare the outputs of both on the inputs.

    Args:
        known: what the original computes of them, if that is known.

    Raises:
        CaptureError: the outputs are of another structure or shape, or are no tensors and plain values.
        OverBudgetError: the deployed one's error is over its budget.
        HetconvError: the original's output is not finite.
    """
    args, kwargs = put_back(structure, inputs)
    right = _reference(name, original, args, kwargs) if known is None else known
    got = run(deployed, (args, kwargs))
    if _structure(got) != _structure(right.given) or right.error(got) is None:
        raise CaptureError("its captured graph gives outputs of another form")
    return _checked(name, right, got, next((int(x.shape[0]) for x in inputs if x.dim()), None))


def _reference(name: str, original: nn.Module, args: Any, kwargs: dict[str, Any] | None = None) -> Reference:
    try:
        return reference(original, args, kwargs)
    except HetconvError as error:
        raise HetconvError(
            f"{_named(name)} gives an output that is not finite on the example; nothing is deployed"
        ) from error


def _run_deployed(deployed: Callable[..., Any], trial: Trial) -> Any:
    try:
        return run(deployed, (trial.args, {}))
    except Exception as error:
        raise HetconvError(
            f"the network, deployed, does not take a batch of {trial.batch_size}, which the original takes: "
            f"{describe_error(error)}; nothing is deployed; please report the network"
        ) from error


def _checked(name: str, right: Reference, got: Any, batch_size: int | None) -> CheckedPart:
    error = right.error(got)
    if error is None or not error <= right.budget:
        how = "gives outputs of another form than" if error is None else f"is off by {error:.2g} of"
        raise OverBudgetError(
            f"{_named(name)}, deployed, {how} {right.against} for a batch of {batch_size}, allowed {right.budget:.2g}; "
            f"nothing is deployed; please report the network"
        )
    return CheckedPart(name, error, right.own_error, right.budget, right.against, batch_size)


def _named(name: str) -> str:
    return name or "the network"


def _structure(value: Any) -> Any:
    try:
        return take_out(value, [])
    except TypeError as error:
        raise CaptureError(f"it returns {error}") from error
