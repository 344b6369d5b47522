"""What joins a convolution does, and what only looks like it does not; results are exact either way."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hetconv import deploy

from .networks import Block, Written, calls, choose_native, exact, het, images

CONV = "het_conv2d_packed"


def deployed_exactly(model, x=None):
    x = images() if x is None else x
    deployed = deploy(exact(model), x)
    with torch.no_grad():
        for batch in (x, torch.cat([x, x]), F.pad(x, (0, 2, 0, 3))):
            assert torch.equal(deployed(batch), model(batch))
    return deployed


def test_a_residual_block_is_two_calls():
    deployed = deployed_exactly(Block())
    assert calls(deployed) == ["contiguous", CONV, CONV]
    first, second = deployed.report.convolutions
    assert (first.name, first.joined, first.reason) == ("conv1", ("batch norm", "relu"), "")
    assert (second.name, second.joined, second.reason) == ("conv2", ("batch norm", "residual", "relu"), "")


JOINED = {
    "relu": lambda x, conv, norm: F.relu(norm(conv(x))),
    "relu in place": lambda x, conv, norm: F.relu(norm(conv(x)), inplace=True),
    "relu_": lambda x, conv, norm: norm(conv(x)).relu_(),
    "torch.relu": lambda x, conv, norm: torch.relu(norm(conv(x))),
    "relu6": lambda x, conv, norm: F.relu6(norm(conv(x)), True),
    "hardtanh": lambda x, conv, norm: F.hardtanh(norm(conv(x)), 0.0, 6.0),
    "clamp": lambda x, conv, norm: norm(conv(x)).clamp(0, 6),
    "clamp by name": lambda x, conv, norm: torch.clamp(norm(conv(x)), max=6, min=0),
    "clamp from below": lambda x, conv, norm: norm(conv(x)).clamp(min=0),
    "add": lambda x, conv, norm: torch.add(x, norm(conv(x))),
    "method": lambda x, conv, norm: norm(conv(x)).add(x).relu(),
    "iadd": lambda x, conv, norm: F.relu_(operator.iadd(norm(conv(x)), x)),
    "add_": lambda x, conv, norm: norm(conv(x)).add_(x),
    "dropout": lambda x, conv, norm: F.relu(F.dropout(norm(conv(x)), 0.5, training=False)),
    "layout": lambda x, conv, norm: F.relu(norm(conv(x).contiguous())),
}


@pytest.mark.parametrize("function", JOINED.values(), ids=JOINED)
def test_joins(function):
    deployed = deployed_exactly(Written(function))
    assert calls(deployed) == ["contiguous", CONV]
    assert deployed.report.count("batch norm") == 1
    assert not deployed.report.norms


def gated(gate, turned):
    def function(x, conv, norm):
        y = norm(conv(x))
        return gate(y) * y if turned else y * gate(y)

    return function


@pytest.mark.parametrize(
    "function",
    [lambda x, conv, norm: F.silu(norm(conv(x))), gated(torch.sigmoid, False), gated(lambda y: y.sigmoid(), True)],
    ids=["silu", "x sigmoid(x)", "sigmoid(x) x"],
)
def test_silu_joins(function):
    model, x = exact(Written(function)), images()
    deployed = deploy(model, x)
    assert calls(deployed) == ["contiguous", CONV]
    torch.testing.assert_close(deployed(x), model(x), rtol=4e-7, atol=1e-30)  # exp is within 2 ulp


def test_hardswish_joins_in_both_ways_of_writing_it():
    for function in (lambda x, conv, norm: F.hardswish(norm(conv(x))), gated(F.hardsigmoid, False)):
        model, x = exact(Written(function)), images()
        deployed = deploy(model, x)
        assert calls(deployed) == ["contiguous", CONV]
        torch.testing.assert_close(deployed(x), model(x), rtol=4e-7, atol=1e-6)  # a division more or less


def test_a_gate_that_others_read_or_that_is_of_another_value_is_none():
    def read_twice(x, conv, norm):
        gate = torch.sigmoid(conv(x))
        return conv(x) * gate + gate

    for function in (read_twice, lambda x, conv, norm: conv(x) * torch.sigmoid(x)):
        model, x = exact(Written(function)), images()
        deployed = deploy(model, x)
        assert "mul" in calls(deployed)
        torch.testing.assert_close(deployed(x), model(x), rtol=4e-7, atol=1e-6)


def used_twice(x, conv, norm):
    y = norm(conv(x))
    return F.relu(y) * y


def conv_used_twice(x, conv, norm):
    y = conv(x)
    return norm(y) * y


def own_output_added(x, conv, norm):
    y = norm(conv(x))
    return y + y


LOOK_ALIKES = {
    "two users": (used_twice, [CONV, "relu", "mul"], "the value after it is used in 2 places"),
    "conv with two users": (conv_used_twice, [CONV, "batch_norm", "mul"], "output is also used elsewhere"),
    "activation before addition": (lambda x, conv, norm: F.relu(norm(conv(x))) + x, [CONV, "add_"], ""),
    "broadcast residual": (
        lambda x, conv, norm: norm(conv(x)) + x.mean((2, 3), keepdim=True),
        ["mean", CONV, "add_"],
        "what is added has another shape or type",
    ),
    "number added": (
        lambda x, conv, norm: F.relu(norm(conv(x)) + 1.0),
        [CONV, "add_", "relu"],
        "what is added is no value of the network",
    ),
    "itself added": (own_output_added, [CONV, "add"], "what is added is no value of the network"),
    "scaled addition": (
        lambda x, conv, norm: torch.add(norm(conv(x)), x, alpha=2),
        [CONV, "add"],
        "what is added is no value of the network",
    ),
    "another activation": (lambda x, conv, norm: F.leaky_relu(norm(conv(x)), 0.5), [CONV, "leaky_relu"], "leaky_relu"),
    "other bounds": (lambda x, conv, norm: F.hardtanh(norm(conv(x)), 0.0, 5.0), [CONV, "hardtanh"], "hardtanh"),
    "something between": (
        lambda x, conv, norm: F.relu(norm(F.avg_pool2d(conv(x), 1))),
        [CONV, "avg_pool2d", "batch_norm", "relu"],
        "what follows is avg_pool2d",
    ),
}


@pytest.mark.parametrize(("function", "expected", "reason"), LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_look_alikes_do_not_join(function, expected, reason):
    deployed = deployed_exactly(Written(function))
    assert sorted(calls(deployed)) == sorted(["contiguous", *expected])
    assert reason in deployed.report.convolutions[0].reason


def test_a_constant_that_would_broadcast_over_a_larger_batch_is_no_residual():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.position = het(), nn.Parameter(torch.zeros(1, 4, 6, 5))

        def forward(self, x):
            return self.conv(x) + self.position

    model, x = exact(Positions()), images(1)
    deployed = deploy(model, x)
    assert torch.equal(deployed(torch.cat([x, x])), model(torch.cat([x, x])))


def test_a_value_of_another_batch_size_is_no_residual():
    """On the example of one image both have one shape; on two they have not."""
    model = Written(lambda x, conv, norm: norm(conv(x)) + x[:1])
    deployed = deployed_exactly(model, images(1))
    assert deployed.report.convolutions[0].reason == "what is added has another shape or type"


def test_a_batch_norm_folds_through_a_max_pool():
    deployed = deployed_exactly(Written(lambda x, conv, norm: norm(F.max_pool2d(conv(x), 3, 2, 1))))
    assert calls(deployed) == ["contiguous", CONV, "max_pool2d"]
    assert deployed.report.convolutions[0].joined == ("batch norm",)


def test_a_batch_norm_that_turns_the_order_does_not_fold_through_a_max_pool():
    model = exact(Written(lambda x, conv, norm: norm(F.max_pool2d(conv(x), 2))))
    with torch.no_grad():
        model.norm.weight[1] = -1
    x = images()
    deployed = deploy(model, x)
    assert torch.equal(deployed(x), model(x))
    (norm,) = deployed.report.norms
    assert norm.reason == "a max pool is between, and a scale is not positive"


@pytest.mark.parametrize("function", [
    lambda x, conv, norm: norm(F.max_pool2d(conv(x), 2)) + F.avg_pool2d(conv(x), 2),
    lambda x, conv, norm: (lambda pooled: norm(pooled) + pooled)(F.max_pool2d(conv(x), 2)),
    lambda x, conv, norm: (lambda made: norm(F.max_pool2d(made, 3, 1, 1)) + made)(conv(x)),
])  # fmt: skip
def test_a_value_that_others_read_is_not_folded_into(function):
    assert "batch_norm" in calls(deployed_exactly(Written(function)))


def test_statistics_of_the_batch_are_not_folded():
    model = exact(Written(lambda x, conv, norm: norm(conv(x)), norm=nn.BatchNorm2d(4, track_running_stats=False)))
    model.norm.eps = 1e-5
    deployed = deploy(model, images())
    assert calls(deployed) == ["contiguous", CONV, "batch_norm"]
    (norm,) = deployed.report.norms
    assert norm.name == "norm"
    assert norm.reason == "it uses the statistics of the batch"


def test_a_shared_convolution_is_packed_once_and_keeps_its_weights():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn1, self.bn2 = het(), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x):
            return F.relu(self.bn2(self.conv(F.relu(self.bn1(self.conv(x))))))

    deployed = deployed_exactly(Shared())
    assert calls(deployed) == ["contiguous", CONV, "batch_norm", "relu", CONV, "batch_norm", "relu"]
    assert sum(constant.pattern is not None for constant in deployed.network.constants) == 1
    assert all("used in 2 places" in entry.reason for entry in deployed.report.convolutions)


def test_batch_norms_without_affine_parameters_and_convolutions_without_bias_fold():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = het(bias=False), nn.BatchNorm2d(4, eps=0.0, affine=False)

        def forward(self, x):
            return self.norm(self.conv(x))

    model, x = Plain().eval(), images()
    with torch.no_grad():
        model.conv.weight_spatial.copy_(torch.randint(-1, 2, (4, 2, 3, 3)))
        model.conv.weight_pointwise.copy_(torch.randint(-1, 2, (4, 2)))
        model.norm.running_var.fill_(4.0)
    deployed = deploy(model, x)
    assert calls(deployed) == ["contiguous", CONV]
    assert torch.equal(deployed(x), model(x))


@pytest.mark.parametrize(
    ("conv", "norm", "size"),
    [
        (nn.Conv3d(4, 4, 3), nn.BatchNorm3d(4), (2, 4, 4, 5, 3)),
        (nn.Conv1d(4, 4, 3, groups=2), nn.BatchNorm1d(4), (2, 4, 7)),
    ],
)
def test_batch_norm_folds_into_other_convolutions_too(conv, norm, size):
    model = exact(Written(lambda x, conv, norm: F.relu(norm(conv(x))), conv=conv, norm=norm))
    x = torch.randint(-2, 3, size).float()
    deployed = deploy(model, x)
    assert "batch_norm" not in calls(deployed)
    assert torch.equal(deployed(x), model(x))
    assert deployed.report.convolutions[0].joined == ("batch norm",)


@pytest.mark.parametrize("native", [True, False])
def test_standard_convolutions_run_where_they_are_faster(native, monkeypatch):
    choose_native(monkeypatch, native=native)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    deployed = deployed_exactly(Written(lambda x, conv, norm: F.relu(norm(conv(x)) + x), conv=conv))
    (entry,) = deployed.report.convolutions
    assert entry.joined == (("batch norm", "residual", "relu") if native else ("batch norm",))
    assert entry.runs_on == ("native" if native else "PyTorch")
    assert (entry.native_ms, entry.torch_ms) == ((1.0, 2.0) if native else (2.0, 1.0))
    assert calls(deployed) == (["contiguous", CONV] if native else ["contiguous", "conv2d", "add_", "relu"])


def test_an_addition_of_two_convolutions_joins_the_one_that_takes_it(monkeypatch):
    """The standard convolution stays PyTorch's, so it cannot."""
    choose_native(monkeypatch, native=False)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.shortcut = het(), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return F.relu(self.shortcut(x.abs()) + self.one(x))

    assert calls(deployed_exactly(Two())) == ["contiguous", "abs", "conv2d", CONV]


KEPT = {
    "grouped": (nn.Conv2d(4, 4, 3, padding=1, groups=2), "grouped (groups=2): the kernels are for ungrouped"),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), "depthwise: the kernels are for ungrouped convolution"),
    "transposed": (nn.ConvTranspose2d(4, 4, 3, padding=1), "transposed: the kernels are for 2-d convolution"),
    "even": (nn.Conv2d(4, 4, 2), "kernel_size=(2, 2) is even, without a centre tap"),
}


@pytest.mark.parametrize(("conv", "reason"), KEPT.values(), ids=KEPT)
def test_other_convolutions_stay_with_the_reason(conv, reason):
    model = exact(Written(lambda x, conv, norm: F.relu(norm(conv(x))), conv=conv))
    deployed, x = deploy(model, images()), images(3)
    assert torch.equal(deployed(x), model(x))
    entry = deployed.report.convolutions[0]
    assert entry.runs_on == "PyTorch"
    assert reason in entry.reason
