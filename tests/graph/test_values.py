"""Writes in place become values; what shares memory is known."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hetconv.graph.allowed import functions
from hetconv.graph.operations import MAY_SHARE
from hetconv.graph.tracing import CaptureError, ValueTracer, known_length
from hetconv.graph.values import make_values


def traced(function):
    class Network(nn.Module):
        def forward(self, x):
            return function(x)

    graph = ValueTracer().trace(Network())
    return graph, torch.fx.GraphModule(nn.Module(), graph)


IMAGES = torch.arange(1.0, 25.0).reshape(1, 4, 2, 3)
CALLS = {
    name: (arguments, options)
    for names, arguments, options in (
        ("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout", (0.5,), {"training": False}),
        ("channel_shuffle pixel_shuffle pixel_unshuffle", (1,), {}),
        ("flatten squeeze unbind pos", (), {}),
        ("reshape broadcast_to", ((1, 4, 2, 3),), {}),
        ("transpose swapaxes swapdims movedim", (0, 1), {}),
        ("permute", ((0, 1, 2, 3),), {}),
        ("chunk split", (2,), {}),
        ("unsqueeze", (0,), {}),
        ("narrow", (1, 0, 2), {}),
        ("pad", ((0, 0),), {}),
        ("interpolate", (), {"scale_factor": 1}),
        ("avg_pool2d max_pool2d", (1,), {}),
        ("adaptive_avg_pool2d adaptive_max_pool2d", ((2, 3),), {}),
        ("clamp clip", (), {"min": -100}),
        ("roll", (0,), {}),
        ("flip", ((0,),), {}),
        ("tile", ((1, 1, 1, 1),), {}),
        ("repeat_interleave", (1,), {"dim": 0}),
        ("relu abs sum mean round floor square sigmoid hardtanh relu6 normalize leaky_relu max amax cumsum", (), {}),
        ("mul div sub add true_divide remainder", (1,), {}),
        ("getitem", (slice(None),), {}),
        ("truediv floordiv", (1,), {}),
    )
    for name in names.split()
}  # fmt: skip


def called(function, name):
    arguments, options = CALLS[name]
    for given in ((arguments, options), ((*arguments, 0), options), ((), {"dim": (2, 3)})):
        try:
            return function(IMAGES, *given[0], **given[1])
        except (TypeError, RuntimeError, IndexError):
            continue
    return None


def test_what_is_said_to_have_memory_of_its_own_has_it():
    tried = 0
    for full, function in functions().items():
        name = full.rpartition(".")[2]
        if name not in CALLS or full == "builtins.getattr":
            continue
        result = called(function, name)
        results = result if isinstance(result, tuple | list) else (result,)
        shares = any(
            isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() == IMAGES.untyped_storage().data_ptr()
            for one in results
        )
        tried += result is not None
        assert not shares or name in MAY_SHARE, full
    assert tried > 40


@pytest.mark.parametrize("operation", ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"])
def test_operators_in_place_are_seen_under_a_second_name(operation):
    def function(x):
        y = x * 1
        same = y
        getattr(operator, operation)(y, 2)
        return same

    graph, module = traced(function)
    assert make_values(graph) == set()
    module.recompile()
    assert torch.equal(module(IMAGES), function(IMAGES))


def test_an_input_that_is_written_to_is_said():
    graph, module = traced(lambda x: F.relu(x.flatten(1), inplace=True))
    assert [node.op for node in make_values(graph)] == ["placeholder"]
    module.recompile()
    x = -IMAGES
    assert not module(x).any()
    assert torch.equal(x, -IMAGES)


def test_parts_of_known_number_can_be_listed():
    graph, _ = traced(lambda x: sum([*x.chunk(2, 1), *x.split([1, 1], dim=1)]))
    lengths = [known_length(node) for node in graph.nodes if node.op == "call_method"]
    assert lengths == [2, 2]
    with pytest.raises(torch.fx.proxy.TraceError):
        traced(lambda x: list(x.split(2, 1)))


def test_what_is_not_known_may_be_a_view_and_may_write():
    def write(x, inplace=False):
        return x

    graph, _ = traced(lambda x: x * 1)
    (start,) = (node for node in graph.nodes if node.op == "call_function")
    with graph.inserting_after(start):
        view = graph.call_function(write, (start,))
    with graph.inserting_after(view):
        added = graph.call_method("add_", (start, 1))
    graph.output_node().args = ((view, added),)
    with pytest.raises(CaptureError, match=r"^add in place changes a tensor that is read through a view afterwards"):
        make_values(graph)
    view.kwargs = {"inplace": True}
    with pytest.raises(CaptureError, match=r"write with inplace=True, which is not known to have another form"):
        make_values(graph)
