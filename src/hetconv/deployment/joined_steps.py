"""Steps that are functions of two values, or of a value and a constant."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.deployment.step_values import Known, NotAStepError
from hetconv.deployment.step_writer import StepWriter
from hetconv.graph.calls import called
from hetconv.ops import network_steps as network
from hetconv.ops.network_steps import Joining

JOININGS: dict[str, Joining] = {
    "add": "sum", "add_": "sum", "mul": "product", "sub": "difference", "div": "quotient", "truediv": "quotient",
    "true_divide": "quotient",
    "maximum": "maximum", "minimum": "minimum", "max": "maximum", "min": "minimum",
}  # fmt: skip
"""Functions of two values, as calls name them."""


def join(writer: StepWriter, node: Node) -> Known:
    if len(node.args) != 2 or node.kwargs:
        raise NotAStepError("it is no function of two values alone")
    joining = JOININGS[called(node)]
    first, other = node.args
    is_left = isinstance(writer.known.get(first), Known)  # type: ignore[arg-type]
    source, second = (first, other) if is_left else (other, first)
    value = writer.float32(source)
    number = _number(writer, second, value)
    if number is not None:
        step = network.float_affine(value.number, *_affine_of(joining, number, is_left))
        return writer.add(step, value.channels, value)
    added = writer.float32(second)
    if added.flat != value.flat:
        raise NotAStepError("its operands have other dimensions")
    if value.one_pixel and not added.one_pixel:
        if joining in ("difference", "quotient"):
            raise NotAStepError(f"it is a {joining} of one pixel and an image")
        value, added = added, value
    return writer.add(network.float_join(value.number, added.number, joining), value.channels, value)


def _number(writer: StepWriter, node: Any, value: Known) -> Tensor | None:
    """A constant as one number, or one for each channel; None if it is something else."""
    if isinstance(node, int | float) and not isinstance(node, bool):
        return torch.tensor([float(node)])
    constant = writer.captured.constant(node)
    if constant is None:
        return None
    shape = tuple(constant.shape)
    while shape and shape[0] == 1 and len(shape) > (1 if value.ends_in_channels else 3):
        shape = shape[1:]
    if prod(shape) == 1 or (
        value.channels is not None and shape == (value.channels, *[1] * (0 if value.ends_in_channels else 2))
    ):
        return constant.reshape(-1)
    raise NotAStepError(f"a constant of shape {tuple(constant.shape)} is none of channels")


def _affine_of(joining: Joining, number: Tensor, is_left: bool) -> tuple[Tensor, Tensor]:
    """The scale and the shift that are a function of a value and a constant; the value is its left operand or not."""
    one, none = torch.ones_like(number), torch.zeros_like(number)
    if joining == "difference":
        return (one, -number) if is_left else (-one, number)
    if joining == "quotient" and is_left:
        return 1 / number.double(), none
    if joining in ("sum", "product"):
        return (one, number) if joining == "sum" else (number, none)
    raise NotAStepError(f"it is a {joining} of a constant")
