"""The table of operations says what PyTorch does: each row is tried."""

import pytest
import torch
from torch.nn import functional

from hetconv.graph.allowed import functions
from hetconv.graph.operations import _TABLE, ARITHMETIC, ELEMENTWISE, OPERATIONS, is_elementwise_in_onnx

EXTRA = {"threshold": (0.5, 2.0), "clamp": (-0.5, 0.5), "clip": (-0.5, 0.5), "clamp_max": (0.5,), "clamp_min": (0.5,)}


def of(name):
    return next(function for holder in (functional, torch) if (function := getattr(holder, name, None)) is not None)


def named(names):
    """Those that a deployed graph may call, and that are functions of PyTorch."""
    return sorted(name for name in names if set(OPERATIONS[name].called_as) & {"F", "T"})


def test_each_operation_stands_in_one_row():
    names = [name for row in _TABLE.strip().splitlines() for name in row.split()[3:]]
    assert len(names) == len(set(names)) == len(OPERATIONS)


@pytest.mark.parametrize("name", named(ELEMENTWISE))
def test_elementwise_is_a_function_of_each_number_alone(name):
    x = torch.rand(4, 5, dtype=torch.float64) + 0.1
    y = of(name)(x, *EXTRA.get(name, ()))
    alone = [of(name)(number, *EXTRA.get(name, ())) for number in x.flatten().split(1)]
    torch.testing.assert_close(y.flatten(), torch.cat(alone), rtol=1e-12, atol=0)  # vectorized code rounds differently
    assert y.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()


@pytest.mark.parametrize("name", named(ARITHMETIC))
def test_arithmetic_is_a_function_of_two_numbers(name):
    x, other = torch.rand(4, 5, dtype=torch.float64) + 0.1, torch.rand(5, dtype=torch.float64) + 0.1
    rows = [of(name)(row, other) for row in x]
    torch.testing.assert_close(of(name)(x, other), torch.stack(rows), rtol=1e-12, atol=0)


def test_every_allowed_function_is_there():
    assert all(map(callable, functions().values()))


@pytest.mark.parametrize("name", ["Relu", "HardSwish", "LeakyRelu", "Max", "Pow", "Cast", "Clip", "Identity", "Sin"])
def test_elementwise_by_the_name_in_onnx(name):
    assert is_elementwise_in_onnx(name)


@pytest.mark.parametrize("name", ["Softmax", "ReduceMean", "Sum", "Mean", "Transpose", "Concat", "Conv", "Dropout"])
def test_not_elementwise_by_the_name_in_onnx(name):
    assert not is_elementwise_in_onnx(name)
