import copy

import pytest
import timm
import torch
from torch import nn

from hetconv import HetConv2d, convert_
from hetconv.graph.fold_module_graph import fold_module_graph

from .networks import image, randomized, small


class Reads(nn.Module):
    """Batch norms that cannot be folded."""

    def __init__(self):
        super().__init__()
        self.conv, self.twice, self.plain = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.read, self.after_relu, self.shared = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.none, self.unused = nn.BatchNorm2d(8, track_running_stats=False), nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.conv(x)
        x = x + self.read(x)
        x = self.after_relu(torch.relu(x))
        x = self.shared(self.twice(self.twice(x)))
        return self.none(self.plain(x))


def test_all_kinds_of_layers_take_it_in():
    model = randomized(
        nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), HetConv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8, affine=False),
            nn.Conv2d(8, 8, 1, groups=4), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 6), nn.BatchNorm1d(6),
        )
    ).double()  # fmt: skip
    x = image().double()
    with torch.no_grad():
        expected = model(x)
        model, folding = fold_module_graph(model, x)
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert folding.folded == ("1", "3", "5", "8")
    assert folding.left == ()
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())


class ReadsItsNorm(nn.Module):
    """Code that reads plain attributes of a batch norm, and a module that its author hung onto it."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.bn.scale, self.bn.act = 3.0, nn.ReLU()

    def forward(self, x):
        x = self.bn.act(self.bn(self.conv(x)))
        return x * self.bn.scale + self.bn.eps * self.bn.num_features


def test_code_may_read_attributes_of_a_folded_batch_norm():
    model, x = randomized(ReadsItsNorm()).double(), image().double()
    with torch.no_grad():
        expected = model(x)
        model, folding = fold_module_graph(model, x)
        assert folding.folded == ("bn",)
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


class ReadsThatThereIsNone(ReadsItsNorm):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(8, affine=False)

    def forward(self, x):
        x = self.bn(self.conv(x))
        return x if self.bn.weight is None else x * self.bn.weight.sum()


def test_code_may_read_that_a_folded_batch_norm_has_no_weight():
    model, x = randomized(ReadsThatThereIsNone()).double(), image().double()
    with torch.no_grad():
        expected = model(x)
        model, folding = fold_module_graph(model, x)
        assert folding.folded == ("bn",)
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_what_is_left_is_named_with_its_reason():
    model = randomized_reads()
    x = image().double()
    expected = model(x)
    model, folding = fold_module_graph(model, x)
    assert folding.folded == ()
    assert dict(folding.left) == {
        "read": "the layer's output is also used elsewhere",
        "after_relu": "no convolution or linear layer comes directly before it, but relu",
        "shared": "the layer's weights are used in 2 places",
        "none": "it uses the statistics of the batch",
        "unused": "it is not called",
    }
    assert torch.equal(model(x), expected)


def randomized_reads():
    model = Reads().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.uniform_(-1, 1)
    return model


def test_training_would_be_wrong_so_that_copies_are_in_evaluation_mode():
    from hetconv.export.prepared_network import folded_copy

    model = small().train()
    network, folding = folded_copy(model, image())
    assert not network.training
    assert model.training
    assert len(folding.folded) == 2
    model.eval()
    with torch.no_grad():
        x = image()
        torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-5)


def test_batch_norms_by_function_as_in_timm():
    model = randomized(timm.create_model("cspresnet50", num_classes=4)).double()
    convert_(model, 4)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    count = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    with torch.no_grad():
        expected = model(x)
        folded, folding = fold_module_graph(copy.deepcopy(model), x)
        torch.testing.assert_close(folded(x), expected, rtol=1e-9, atol=1e-9)
    assert len(folding.folded) == count
    assert not [node for node in folded.graph.nodes if node.target is nn.functional.batch_norm]


@pytest.mark.parametrize("form", ["grouped", "sliced", "dense"])
def test_prepared_networks_are_standard_layers(form):
    from hetconv.export.prepared_network import prepare

    model = small()
    prepared = prepare(model, image(), form)
    assert not any(isinstance(module, HetConv2d) for module in prepared.network.modules())
    assert sum(isinstance(module, HetConv2d) for module in model.modules()) == 2
    assert prepared.layers == ("3", "6")
    assert prepared.notes == ()
