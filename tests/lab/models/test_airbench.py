import pytest
import torch
from torch import nn

from hetconv.lab.models import create_model
from hetconv.lab.models.airbench import AirbenchCifar
from hetconv.nn import HetConv2d


@pytest.mark.parametrize("variant", ["dense", "het-p4", "gwc4-pwc", "dwc-pwc", "het-p4-se", "het-p4-w0.5"])
def test_it_classifies(variant: str) -> None:
    assert create_model("airbench_cifar", variant)(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_macs_are_those_of_the_published_network() -> None:
    """3.6e14 FLOP for 9.9 epochs of 50,000 images, forward and backward: 3 · 2 · MACs · 495,000."""
    from hetconv.cost import complexity

    macs = complexity(create_model("airbench_cifar"), (3, 32, 32)).macs
    assert 6 * macs * 495_000 == pytest.approx(3.6e14, rel=0.03)


def test_whitened_patches_are_uncorrelated_with_variance_one() -> None:
    torch.manual_seed(0)
    network = create_model("airbench_cifar")
    assert isinstance(network, AirbenchCifar)
    images = nn.functional.avg_pool2d(torch.randn(200, 3, 66, 66), 3, stride=2)  # neighbours are correlated
    network.before_training(images)
    outputs = nn.functional.conv2d(images, network.whiten.weight).transpose(0, 1).reshape(24, -1)
    assert torch.equal(network.whiten.weight[12:], -network.whiten.weight[:12])
    assert torch.allclose(torch.cov(outputs[:12]), torch.eye(12), atol=0.03)  # the floor takes up to 2.5 %


@pytest.mark.parametrize("variant", ["dense", "het-p2", "het-p8"])
def test_the_first_filters_pass_their_channel_on(variant: str) -> None:
    network = create_model("airbench_cifar", variant)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | HetConv2d) and layer.kernel_size == (3, 3):
            dense = layer if isinstance(layer, nn.Conv2d) else layer.to_dense()
            x = torch.randn(1, dense.in_channels, 5, 5)
            y = nn.functional.conv2d(x, dense.weight, padding=1)
            assert torch.allclose(y[:, : dense.in_channels], x, atol=1e-6)  # sums of a one and zeros


def test_the_whitening_bias_is_trained_for_three_epochs() -> None:
    network = create_model("airbench_cifar")
    assert isinstance(network, AirbenchCifar)
    assert network.whiten.bias is not None
    trained = []
    for epoch in range(5):
        network.before_epoch(epoch)
        trained.append(network.whiten.bias.requires_grad)
    assert trained == [True, True, True, False, False]
    assert not network.whiten.weight.requires_grad
