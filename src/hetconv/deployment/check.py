"""Whether a deployed part computes what the original does, by an error budget."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.deployment.captured import CaptureError
from hetconv.deployment.report import CheckedPart
from hetconv.deployment.structure import put_back, take_out
from hetconv.errors import HetconvError

FACTOR = 2.0
"""Folding and another order of summation round as often as the original does, so twice its error is generous."""
FLOOR = 8 * 2.0**-24
"""Relative: eight roundings, for networks whose own error happens to be nothing."""
WITHOUT_FLOAT64 = 1e-4
"""Relative, against the original itself: what hundreds of layers of float32 rounding add up to at most."""
IN_FLOAT64, ITSELF = "the original in float64", "the original in float32"


def check_part(
    name: str, original: nn.Module, deployed: nn.Module, structure: Any, inputs: list[Tensor]
) -> CheckedPart:
    """Compare the outputs of both on the inputs.

    Raises:
        CaptureError: the outputs are of another structure or shape, or are no tensors and plain values.
        HetconvError: the original's output is not finite, or the deployed one's error is over its budget.
    """
    args, kwargs = put_back(structure, inputs)
    with torch.no_grad():
        right, right_structure = _outputs(original(*args, **kwargs))
        got, got_structure = _outputs(deployed(*args, **kwargs))
    if got_structure != right_structure or [y.shape for y in got] != [y.shape for y in right]:
        raise CaptureError("its captured graph gives outputs of another form")
    if not all(bool(torch.isfinite(y).all()) for y in right):
        raise HetconvError(f"{_named(name)} gives an output that is not finite on the example; nothing is deployed")
    exact = _in_float64(original, structure, inputs)
    if exact is None or [y.shape for y in exact] != [y.shape for y in right]:
        checked = CheckedPart(name, _error(got, right), 0.0, WITHOUT_FLOAT64, ITSELF)
    else:
        own = _error(right, exact)
        checked = CheckedPart(name, _error(got, exact), own, FACTOR * own + FLOOR, IN_FLOAT64)
    if not checked.error <= checked.budget:
        raise HetconvError(
            f"{_named(name)}, deployed, is off by {checked.error:.2g} of {checked.reference}, allowed "
            f"{checked.budget:.2g}; nothing is deployed; please report the network"
        )
    return checked


def _named(name: str) -> str:
    return name or "the network"


def _outputs(value: Any) -> tuple[list[Tensor], Any]:
    tensors: list[Tensor] = []
    try:
        structure = take_out(value, tensors)
    except TypeError as error:
        raise CaptureError(f"it returns {error}") from error
    return tensors, structure


def _in_float64(original: nn.Module, structure: Any, inputs: list[Tensor]) -> list[Tensor] | None:
    """The outputs in float64; None where the module does not run in it."""
    try:
        double = copy.deepcopy(original).double()
        args, kwargs = put_back(structure, [x.double() if x.is_floating_point() else x for x in inputs])
        with torch.no_grad():
            return _outputs(double(*args, **kwargs))[0]
    except Exception:  # whatever a module raises that names float32 in its code
        return None


def _error(got: list[Tensor], right: list[Tensor]) -> float:
    """The largest root mean square error of an output, over the output's own root mean square."""
    errors = [0.0]
    for mine, other in zip(got, right, strict=True):
        if other.numel():
            scale = float(other.double().norm())
            off = float((mine.double() - other.double()).norm())
            errors.append(0.0 if off == 0 else off / scale if scale > 0 else float("inf"))
    return max(errors, key=lambda error: (error != error, error))
