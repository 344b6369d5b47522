"""Batch norms fold alike in graphs of plain calls, which are deployed, and in models of modules, which are exported."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hetconv import HetConv2d
from hetconv.deployment.signature import Signature
from hetconv.graph.calls import called
from hetconv.graph.captured import evaluate
from hetconv.graph.fold_module_graph import fold_module_graph
from hetconv.graph.fold_plain_graph import fold_plain_graph
from hetconv.graph.plain_graph import capture
from hetconv.graph.shapes import find_shapes

ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
"""Of float64: sums of at most a hundred products, each rounded to 1e-16 of its size."""


def randomized(model):
    for module in model.double().eval().modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


def plain_calls(model, x):
    """The output after folding, and the reasons of batch norms that remain."""
    captured, _ = capture(model, Signature.of((x,), {}).structure, 1)
    find_shapes(captured, [x])
    outcomes = fold_plain_graph(captured)
    kept = sum(called(node) == "batch_norm" for node in captured.graph.nodes)
    reasons = [outcome.reason for outcome in outcomes if outcome.reason is not None]
    assert len(reasons) == kept
    return evaluate(captured, [x]), reasons


def modules(model, x):
    folded, found = fold_module_graph(copy.deepcopy(model), x)
    return folded(x), [reason for _, reason in found.left]


@pytest.fixture(params=[plain_calls, modules], ids=lambda fold: fold.__name__)
def reasons_of(request):
    """Fold a model, see that it computes the same, and return why batch norms remain."""

    def reasons(model, *size):
        randomized(model)
        x = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = model(x)
            output, found = request.param(model, x)
        torch.testing.assert_close(output, expected, **ROUNDING)
        return found

    return reasons


KINDS = {
    "conv1d": (lambda **options: nn.Conv1d(4, 6, 3, groups=2, **options), nn.BatchNorm1d, (2, 4, 7)),
    "conv2d": (lambda **options: nn.Conv2d(4, 6, 3, stride=2, **options), nn.BatchNorm2d, (2, 4, 7, 6)),
    "depthwise": (lambda **options: nn.Conv2d(6, 6, 3, groups=6, **options), nn.BatchNorm2d, (2, 6, 7, 6)),
    "reflected": (
        lambda **options: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", **options),
        nn.BatchNorm2d,
        (2, 4, 7, 6),
    ),
    "conv3d": (lambda **options: nn.Conv3d(4, 6, 2, **options), nn.BatchNorm3d, (2, 4, 3, 4, 5)),
    "transposed 1-d": (lambda **options: nn.ConvTranspose1d(4, 6, 3, groups=2, **options), nn.BatchNorm1d, (2, 4, 7)),
    "transposed 2-d": (
        lambda **options: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, dilation=2, **options),
        nn.BatchNorm2d,
        (2, 4, 5, 6),
    ),
    "transposed 3-d": (lambda **options: nn.ConvTranspose3d(4, 6, 2, **options), nn.BatchNorm3d, (2, 4, 3, 2, 3)),
    "linear": (lambda **options: nn.Linear(4, 6, **options), nn.BatchNorm1d, (5, 4)),
    "het": (lambda **options: HetConv2d(4, 6, 3, p=2, **options), nn.BatchNorm2d, (2, 4, 7, 6)),
    "het blocked": (
        lambda **options: HetConv2d(4, 6, 3, p=2, arrangement="blocked", **options),
        nn.BatchNorm2d,
        (2, 4, 7, 6),
    ),
    "het, P=1": (lambda **options: HetConv2d(4, 6, 3, p=1, **options), nn.BatchNorm2d, (2, 4, 7, 6)),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layer", "norm", "size"), KINDS.values(), ids=KINDS)
def test_every_kind_of_layer_takes_it_in(reasons_of, layer, norm, size, bias, affine):
    assert reasons_of(nn.Sequential(layer(bias=bias), norm(6, affine=affine)), *size) == []


class Written(nn.Module):
    """One function of two convolutions, a linear layer, two batch norms, and the input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv, self.second, self.linear = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(5, 4)
        self.norm, self.other, self.flat = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm1d(4)
        self.untracked = nn.BatchNorm2d(4, track_running_stats=False)
        self.tied = nn.Conv2d(4, 4, 3, padding=1)
        self.tied.weight = self.conv.weight

    def forward(self, x):
        return self.function(self, x)


def by_function(norm, y):
    return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.1, norm.eps)


def with_its_size(m, x):
    y = m.conv(x)
    return m.norm(y).reshape(y.shape[0], -1)


FOLDED = {
    "after another": lambda m, x: m.other(m.norm(m.conv(x))),
    "one norm after two layers": lambda m, x: m.norm(m.conv(x)) + m.norm(m.second(x)),
    "through a max pool": lambda m, x: m.norm(F.max_pool2d(m.conv(x), 3, 2, 1)),
    "a size is read": with_its_size,
    "layer by function": lambda m, x: m.norm(F.conv2d(x, m.conv.weight, padding=1)),
    "norm by function": lambda m, x: by_function(m.norm, m.conv(x)),
}


@pytest.mark.parametrize("function", FOLDED.values(), ids=FOLDED)
def test_folds_also(reasons_of, function):
    unused = "it is not called"
    assert [reason for reason in reasons_of(Written(function), 2, 4, 6, 5) if reason != unused] == []


LEFT = {
    "the layer's output is also used elsewhere": lambda m, x: (lambda y: m.norm(y) + y)(m.conv(x)),
    "no convolution or linear layer comes directly before it, but relu": lambda m, x: m.norm(torch.relu(m.conv(x))),
    "no convolution or linear layer comes directly before it, but conv.weight": lambda m, x: (
        m.norm(m.conv.weight) + x[:, :, :3, :3]
    ),
    "the layer's weights are used in 2 places": lambda m, x: m.norm(m.conv(x)) + m.conv(x),
    "the layer's weights are used in 3 places": lambda m, x: (
        m.norm(m.tied(x)) + m.conv(x) + F.conv2d(x, m.tied.weight, padding=1)
    ),
    "it uses the statistics of the batch": lambda m, x: m.untracked(m.conv(x)),
    "the layer's weights are computed while it runs": lambda m, x: m.norm(F.conv2d(x, x[:4, :, :1, :1])),
    "its statistics or weights are computed while it runs": lambda m, x: F.batch_norm(
        m.conv(x), m.norm.running_mean, m.norm.running_var, x[0, :, 0, 0]
    ),
    "it normalizes another dimension than the layer's output channels": lambda m, x: m.flat(m.linear(x[:, :, 0])),
}


@pytest.mark.parametrize(("reason", "function"), LEFT.items(), ids=LEFT)
def test_what_is_left_has_its_reason(reason, function):
    """Linear layers over four tokens: a batch norm of four channels is of the tokens."""
    model = randomized(Written(function))
    x = torch.randn(4, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(x)
        for fold in (plain_calls, modules):
            output, reasons = fold(model, x)
            torch.testing.assert_close(output, expected, **ROUNDING)
            assert reason in reasons


def test_weights_that_a_hook_computes_are_left():
    """They are no parameters: the hook would put its own in the place of folded ones."""
    model = randomized(nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(4, 4, 3)), nn.BatchNorm2d(4)))
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output, reasons = modules(model, x)
        assert torch.equal(output, model(x))
    assert reasons == ["the layer's weights are computed while it runs"]


POOLS_OF_FEWER_DIMENSIONS = {
    "max_pool1d": (nn.Linear(4, 6), nn.MaxPool1d(3, 1, 1), nn.BatchNorm1d(6), (5, 4)),
    "max_pool2d": (nn.Conv1d(4, 6, 3), nn.MaxPool2d(3, 1, 1), nn.BatchNorm1d(6), (5, 4, 7)),
    "max_pool3d": (nn.Conv2d(4, 6, 3), nn.MaxPool3d(3, 1, 1), nn.BatchNorm2d(6), (2, 4, 7, 6)),
}


@pytest.mark.parametrize("name", POOLS_OF_FEWER_DIMENSIONS)
def test_a_pool_that_takes_channels_for_pixels_is_no_way_through(reasons_of, name):
    *layers, size = POOLS_OF_FEWER_DIMENSIONS[name]
    (reason,) = reasons_of(nn.Sequential(*layers), *size)
    assert reason.startswith("no convolution or linear layer comes directly before it, but ")


@pytest.mark.parametrize("hooked", [0, 1, 2], ids=["convolution", "pool", "norm"])
def test_nothing_is_folded_across_a_hook(hooked):
    """In a model of modules; one with hooks has no graph of plain calls."""
    model = randomized(nn.Sequential(nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4)))
    model[hooked].register_forward_hook(lambda module, inputs, output: output * 2)
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output, reasons = modules(model, x)
        assert torch.equal(output, model(x))
    assert reasons == [f"{hooked} has a forward hook, which would meet other values"]


READ_ELSEWHERE = {
    "weight": lambda m, x: m.norm(m.conv(x)) * m.norm.weight.view(1, -1, 1, 1),
    "statistics": lambda m, x: m.norm(m.conv(x)) + m.norm.running_mean.sum(),
}


@pytest.mark.parametrize("function", READ_ELSEWHERE.values(), ids=READ_ELSEWHERE)
def test_a_norm_that_is_read_elsewhere_stays_readable(reasons_of, function):
    assert set(reasons_of(nn.Sequential(Written(function)), 2, 4, 6, 5)) <= {"it is not called"}
