"""Operands by keyword become operands by position."""

import pytest
import torch
from torch.nn import functional

from hetconv.graph.positional import by_position
from hetconv.ops import het_conv2d

CALLS = [
    (torch.sigmoid, (), {"input": 1}, (1,), {}),
    (torch.sub, (), {"other": 2, "input": 1, "alpha": 3}, (1, 2), {"alpha": 3}),
    (torch.maximum, (1,), {"other": 2}, (1, 2), {}),
    (torch.cat, (), {"dim": 1, "tensors": [1, 2]}, ([1, 2],), {"dim": 1}),
    (functional.interpolate, (), {"input": 1, "scale_factor": 2}, (1,), {"scale_factor": 2}),
    (het_conv2d, (), {"x": 1, "padding": 1}, (1,), {"padding": 1}),
    (torch.where, (), {"condition": 1, "input": 2, "other": 3}, (), {"condition": 1, "input": 2, "other": 3}),
    (torch.where, (1,), {"input": 2, "other": 3}, (1,), {"input": 2, "other": 3}),
    (torch.clamp, (1,), {"min": 0}, (1,), {"min": 0}),
    (torch.zeros, (), {"size": (1,)}, (), {"size": (1,)}),
]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected", "left"), CALLS, ids=lambda one: getattr(one, "__name__", str(one))
)
def test_first_operands(function, args, kwargs, expected, left):
    others = dict(kwargs)
    assert by_position("call_function", function, args, others) == expected
    assert others == left


def test_methods_and_modules():
    others = {"other": 2}
    assert by_position("call_method", "sub", (1,), others) == (1, 2)
    assert by_position("call_module", "conv", (), {"input": 1}) == ()
