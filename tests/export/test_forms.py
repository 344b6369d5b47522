"""A form of standard operators computes the layer: whole numbers, compared with `==`."""

from typing import get_args

import pytest
import torch
from torch import nn

from hetconv import HetConv2d
from hetconv.errors import UsageError
from hetconv.export.forms import Form, in_form

GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": 3, "padding": 1, "dilation": 3, "stride": (2, 1)},
    {"kernel_size": (1, 5), "padding": (2, 0)},
    {"kernel_size": 3, "padding": 4, "stride": 3},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 5, "padding": 1, "padding_mode": "circular", "stride": 2},
    {"kernel_size": 1},
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
@pytest.mark.parametrize(("p", "bias"), [(4, True), (2, False), (1, True), (8, True)])
def test_every_form_is_the_layer(geometry, form, arrangement, p, bias):
    layer = HetConv2d(8, 16, p=p, bias=bias, arrangement=arrangement, **geometry).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-3, 4, parameter.shape))
        x = torch.randint(-3, 4, (2, 8, 11, 13)).float()
        made = in_form(layer, form)
        assert torch.equal(made(x), layer(x))
    assert not any(isinstance(module, HetConv2d) for module in made.modules())


def test_a_layer_with_nothing_to_split_is_one_convolution():
    assert isinstance(in_form(HetConv2d(8, 8, 3, p=1), "grouped"), nn.Conv2d)
    assert isinstance(in_form(HetConv2d(8, 8, 1, p=4), "sliced"), nn.Conv2d)


def test_unknown_form():
    with pytest.raises(UsageError, match="form='depthwise' must be one of grouped, sliced, dense"):
        in_form(HetConv2d(8, 8, 3), "depthwise")
