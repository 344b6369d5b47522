import pytest
import torch
from torch import nn

from hetconv import complexity
from hetconv.errors import UsageError
from hetconv.lab.compress import L1
from hetconv.lab.compress.filters import Parts, keep_largest, kept_in_part, laid_out
from hetconv.lab.compress.l1 import published_shares
from hetconv.lab.models import create_model

EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_kept_filters_by_hand() -> None:
    """Six filters of norms 6, 1, 4, 3, 5, 2 (times nine weights): half of them go, 1, 3 and 5."""
    conv = nn.Conv2d(1, 6, 3, bias=False)
    for index, size in enumerate((6.0, 1.0, 4.0, 3.0, 5.0, 2.0)):
        conv.weight.data[index] = size * torch.tensor([[1, -1, 1], [-1, 1, -1], [1, -1, 1]])
    model = nn.Sequential(conv, nn.ReLU(), nn.Conv2d(6, 2, 3), nn.Flatten())
    reader = model[2].weight.detach().clone()
    smaller, changes = L1(0.5).prune(model, torch.randn(1, 1, 8, 8), 0)
    assert smaller[0].weight[:, 0, 0, 0].tolist() == [6.0, 4.0, 5.0]
    assert torch.equal(smaller[2].weight, reader[:, [0, 2, 4]])
    assert (changes[0].before, changes[0].after) == (6, 3)
    assert changes[1].reason == "they are the network's output"


@pytest.mark.parametrize(
    ("network", "setting", "macs", "params"),
    [
        ("vgg16_cifar", "a", 206e6, 5.4e6),
        ("resnet56_cifar", "a", 112e6, 0.77e6),
        ("resnet56_cifar", "b", 90.9e6, 0.73e6),
    ],
)
def test_published_counts(network: str, setting: str, macs: float, params: float) -> None:
    """Li et al., table 1: 2.06e8, 5.4e6; 1.12e8, 7.7e5; 9.09e7, 7.3e5 (their shortcuts have other parameters)."""
    smaller, _ = L1(setting=setting).prune(create_model(network), EXAMPLE, 0)
    counted = complexity(smaller, (3, 32, 32))
    assert counted.macs == pytest.approx(macs, rel=0.005)
    assert counted.params == pytest.approx(params, rel=0.01)


def test_the_widths_of_vgg16_a() -> None:
    smaller, _ = L1(setting="a").prune(create_model("vgg16_cifar"), EXAMPLE, 0)
    widths = [layer.out_channels for layer in smaller.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [32, 64, 128, 128, *[256] * 9]


def test_shares_by_name_and_whole_layers() -> None:
    model = create_model("vgg16_cifar", width=0.125)
    method = L1(0.5, {"features.0.*": 0, "features.3.*": 0.25})
    _, changes = method.prune(model, EXAMPLE, 0)
    after = {change.name: change.after for change in changes}
    assert (after["features.0.0"], after["features.3.0"], after["features.4.0"]) == (8, 12, 8)


def test_of_a_residual_network_the_inner_filters_go() -> None:
    model = create_model("resnet20_cifar")
    _, changes = L1(0.5).prune(model, EXAMPLE, 0)
    gone = [change.name for change in changes if change.reason is None]
    assert gone == [f"stages.{block}.conv1" for block in range(9)]
    reasons = {change.name: change.reason for change in changes}
    assert reasons["stages.0.conv2"] == "they are padded with empty channels on the way"


def test_added_filters_are_named() -> None:
    _, changes = L1(0.5).prune(create_model("resnet18"), torch.randn(2, 3, 32, 32), 0)
    reasons = {change.name: change.reason for change in changes}
    assert reasons["layer1.0.conv2"] == "its filters are added to those of layer1.1.conv2"


@pytest.mark.parametrize(("filters", "parts", "share", "each"), [
    (64, 1, 0.5, 32), (16, 1, 0.1, 14), (10, 1, 0.9, 1), (10, 1, 0.99, 1), (16, 4, 0.5, 2), (16, 4, 0.9, 1),
])  # fmt: skip
def test_how_many_stay(filters: int, parts: int, share: float, each: int) -> None:
    assert kept_in_part(filters, Parts(parts), share) == each


def test_equally_many_of_each_part_stay() -> None:
    scores = torch.tensor([8.0, 1, 7, 2, 6, 3, 5, 4])
    assert keep_largest(scores, Parts(2), 2) == (0, 2, 5, 7)
    assert keep_largest(scores, Parts(2, "blocked"), 2) == (0, 2, 4, 6)
    assert laid_out((0, 2, 5, 7), 8, Parts(2)) == (0, 5, 2, 7)
    assert keep_largest(torch.ones(4), Parts(), 2) == (0, 1)


@pytest.mark.parametrize("kept", [(0, 1, 2), (), (0, 9)])
def test_filters_that_do_not_fit_their_parts(kept: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        laid_out(kept, 8, Parts(2))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: L1(1.0), r"share=1 must be above 0 and below 1"),
    (lambda: L1(0.0), r"share=0 must be above 0"),
    (lambda: L1(setting="c"), r"setting='c' must be one of a, b"),
])  # fmt: skip
def test_wrong_settings(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(("method", "network", "message"), [
    (L1(by_name={"conv1": 0.5}), "vgg16_cifar", r"'conv1' matches no layer that can lose filters; there are features"),
    (L1(by_name={"features.0.0": 1.5}), "vgg16_cifar", r"share of 'features\.0\.0'=1\.5 must be above 0"),
    (L1(setting="a"), "resnet20_cifar", r"l1-a is set down for VGG-16 .* this network has 9 layers"),
])  # fmt: skip
def test_networks_that_do_not_fit(method: L1, network: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        method.check(create_model(network, width=0.25), EXAMPLE)


def test_a_share_that_removes_nothing_is_said() -> None:
    with pytest.raises(UsageError, match="no filter of any layer would be removed"):
        L1(0.5, {"*": 0}).prune(create_model("vgg16_cifar", width=0.125), EXAMPLE, 0)


def test_a_network_without_filters_of_its_own_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no convolution of this network can lose filters"):
        L1().check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), EXAMPLE)
    with pytest.raises(UsageError, match=r"is set down for ResNet-56"):
        published_shares("b", 13)


def test_removed_filters_are_gone_from_every_tensor() -> None:
    """A quarter of the filters leaves a sixteenth of the multiply-adds, in layers of their own size, not masked."""
    model = create_model("vgg16_cifar", width=0.5).eval()
    smaller, changes = L1(0.75).prune(model, EXAMPLE, 0)
    convs = [module for module in smaller.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in smaller.modules() if isinstance(module, nn.BatchNorm2d)]
    left = [change.after for change in changes if change.reason is None]
    assert left == [8, 8, 16, 16, 32, 32, 32, *[64] * 6]
    assert [tuple(conv.weight.shape[:2]) for conv in convs] == list(zip(left, [3, *left[:-1]], strict=True))
    assert [norm.num_features for norm in norms[: len(left)]] == left
    assert all(bool((conv.weight != 0).all()) for conv in convs)
    whole = {layer.name: layer.macs for layer in complexity(model, (3, 32, 32)).layers}
    for layer in complexity(smaller, (3, 32, 32)).layers[1 : len(left)]:
        assert whole[layer.name] == 16 * layer.macs
