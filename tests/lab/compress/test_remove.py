"""The smaller network computes what the large one does with the removed feature maps masked, to float64 rounding."""

import copy

import pytest
import torch
from torch import Tensor, nn

from hetconv import HetConv2d
from hetconv.errors import HetconvError, UsageError
from hetconv.lab.compress import Surgery
from hetconv.lab.compress.filters import keep_largest, kept_in_part
from hetconv.lab.models import create_model

ROUNDING = 1e-10


def trained(network: str, variant: str, width: float) -> nn.Module:
    """A network whose batch norms are not the identity, in float64."""
    model = create_model(network, variant, width=width).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def masked_output(model: nn.Module, norms: dict[str, list[int]], x: Tensor) -> Tensor:
    """The network's output with these channels of these layers' outputs set to zero."""
    masked = copy.deepcopy(model)

    def hook(gone: list[int]):
        def zero(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            output = output.clone()
            output[:, gone] = 0
            return output

        return zero

    for name, gone in norms.items():
        masked.get_submodule(name).register_forward_hook(hook(gone))
    with torch.no_grad():
        return masked(x)


def chosen(surgery: Surgery, share: float = 0.5) -> dict[str, tuple[int, ...]]:
    """Filters of every group that can lose some, by random scores."""
    return {
        group.name: keep_largest(
            torch.rand(group.filters), group.parts, kept_in_part(group.filters, group.parts, share)
        )
        for group in surgery.groups
        if group.reason is None
    }


def norm_after(name: str) -> str:
    """The layer after which a producer's feature maps can be masked, in the networks here."""
    if name.startswith("features"):
        return name.removesuffix("0") + "1"
    if name.startswith("classifier"):
        return name
    return name.replace("conv", "bn").replace("downsample.0", "downsample.1").replace("stem.0", "stem.1")


@pytest.mark.parametrize(("network", "variant", "width", "size"), [
    ("vgg16_cifar", "dense", 0.125, 32), ("vgg16_cifar", "het-p4", 0.125, 32),
    ("vgg16_cifar", "het-p4-blocked", 0.125, 32), ("vgg16_cifar", "het-p8", 0.25, 32),
    ("resnet20_cifar", "dense", 0.5, 32), ("resnet20_cifar", "het-p4", 0.5, 32), ("resnet18", "dense", 1, 32),
    ("resnet18", "het-p4", 1, 32), ("resnet18", "het-p2-blocked", 1, 32),
])  # fmt: skip
def test_smaller_is_masked(network: str, variant: str, width: float, size: int) -> None:
    model = trained(network, variant, width)
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    surgery = Surgery(model, x)
    kept = chosen(surgery)
    smaller = surgery.remove(kept)
    norms = {
        norm_after(producer): [index for index in range(group.filters) if index not in kept[group.name]]
        for group in surgery.groups
        if group.name in kept
        for producer in group.producers
    }
    expected = masked_output(model, norms, x)
    with torch.no_grad():
        found = smaller(x)
    assert float((found - expected).abs().max()) <= ROUNDING * float(expected.abs().max())
    assert sum(p.numel() for p in smaller.parameters()) < 0.7 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("variant", ["het-p4", "het-p4-blocked"])
def test_het_layers_stay_het_layers(variant: str) -> None:
    model = trained("vgg16_cifar", variant, 0.125)
    surgery = Surgery(model, torch.randn(2, 3, 32, 32, dtype=torch.float64))
    smaller = surgery.remove(chosen(surgery))
    layers = [layer for layer in smaller.modules() if isinstance(layer, HetConv2d)]
    assert len(layers) == 12
    assert {(layer.p, layer.arrangement) for layer in layers} == {(4, layers[0].arrangement)}
    assert [layer.out_channels for layer in layers][:3] == [4, 8, 8]


def test_parts_of_different_p_join() -> None:
    """A layer of P=4 is read by one of P=6: of twelve parts equally many filters stay."""
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3), HetConv2d(24, 24, 3, p=4), nn.BatchNorm2d(24), HetConv2d(24, 24, 3, p=6), nn.Flatten()
    ).double()
    surgery = Surgery(model, torch.randn(1, 3, 12, 12, dtype=torch.float64))
    assert [group.parts.count for group in surgery.groups] == [4, 12, 6]
    smaller = surgery.remove(chosen(surgery) | {"0": tuple(range(8, 16))})
    assert [smaller[index].in_channels for index in (1, 3)] == [8, 12]


def test_a_flattened_feature_map_goes_whole() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), HetConv2d(8, 8, 3, p=4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    ).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    surgery = Surgery(model, x)
    smaller = surgery.remove({"1": (2, 3, 4, 5)})
    assert smaller[4].in_features == 64
    torch.testing.assert_close(smaller(x), masked_output(model, {"1": [0, 1, 6, 7]}, x), rtol=1e-10, atol=1e-12)


def test_concatenated_feature_maps() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 6, 3)
            self.c = nn.Conv2d(10, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.cat([self.a(x), self.b(x)], 1)).mean((2, 3))

    model, x = Branches().double(), torch.randn(1, 3, 9, 9, dtype=torch.float64)
    smaller = Surgery(model, x).remove({"a": (1, 3), "b": (0, 5)})
    torch.testing.assert_close(smaller(x), masked_output(model, {"a": [0, 2], "b": [1, 2, 3, 4]}, x))


def test_modes_types_and_the_model_itself_are_left_as_they_were() -> None:
    model = create_model("vgg16_cifar", "het-p4", width=0.125)
    model.features[0].eval()
    before = copy.deepcopy(model.state_dict())
    surgery = Surgery(model, torch.randn(1, 3, 32, 32))
    smaller = surgery.remove(chosen(surgery))
    assert smaller.training
    assert not smaller.features[0][0].training
    assert model.features[0][1].weight.shape == (8,)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert {parameter.dtype for parameter in smaller.parameters()} == {torch.float32}
    assert all(parameter.requires_grad and parameter.is_contiguous() for parameter in smaller.parameters())


@pytest.mark.parametrize(("network", "variant", "layer", "reason"), [
    ("vgg16_cifar", "dense", "classifier.3", "they are the network's output"),
    ("resnet20_cifar", "dense", "stages.2.conv2", "they are padded with empty channels on the way"),
    ("vgg16_cifar", "gwc2-pwc", "features.0.0", "features.1.0.groupwise is a grouped convolution"),
])  # fmt: skip
def test_what_cannot_lose_filters_says_why(network: str, variant: str, layer: str, reason: str) -> None:
    surgery = Surgery(create_model(network, variant, width=0.125), torch.randn(1, 3, 32, 32))
    assert surgery.group(layer).reason == reason
    with pytest.raises(UsageError, match=f"{layer} cannot lose filters: "):
        surgery.remove({layer: (0,)})


def test_shifted_and_blocked_layers_on_the_same_filters_are_refused() -> None:
    model = nn.Sequential(
        HetConv2d(4, 8, 3, p=4), HetConv2d(8, 8, 3, p=4, arrangement="blocked"), nn.Conv2d(8, 2, 3), nn.Flatten()
    )
    group = Surgery(model, torch.randn(1, 4, 12, 12)).group("0")
    assert "hetconv.relayout gives them one arrangement" in str(group.reason)


def test_layers_that_normalize_over_channels_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3), nn.Flatten())
    assert Surgery(model, torch.randn(1, 3, 8, 8)).group("0").reason == "1 is a GroupNorm"


def test_unknown_layers_and_networks_that_cannot_be_followed() -> None:
    with pytest.raises(UsageError, match=r"layer 'conv9' makes no filters .* there are features\.0\.0"):
        Surgery(create_model("vgg16_cifar", width=0.125), torch.randn(1, 3, 32, 32)).group("conv9")
    with pytest.raises(UsageError, match="Torch-Pruning cannot follow this network: "):
        Surgery(nn.Sequential(nn.Conv2d(5, 4, 3)), torch.randn(1, 3, 8, 8))


def test_a_removal_that_changes_the_output_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    from hetconv.lab.compress.dependency_graph import Graph

    surgery = Surgery(trained("vgg16_cifar", "dense", 0.125), torch.randn(1, 3, 32, 32, dtype=torch.float64))
    right = Graph.remove
    monkeypatch.setattr(Graph, "remove", lambda self, name, gone: right(self, name, [i ^ 1 for i in gone]))
    with pytest.raises(HetconvError, match="is off the masked one by"):
        surgery.remove({"features.3.0": tuple(range(0, 16, 2))})
