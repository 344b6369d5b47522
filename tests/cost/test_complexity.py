import pytest
import torch
from torch import Tensor, nn

from hetconv import HetConv2d
from hetconv.cost import complexity
from hetconv.errors import UsageError
from hetconv.lab.models import create_model
from hetconv.lab.published import VGG16_CIFAR10

CIFAR = (3, 32, 32)
IMAGENET = (3, 224, 224)


@pytest.mark.parametrize("row", [row for row in VGG16_CIFAR10.rows if row.paper_flops], ids=lambda row: row.variant)
def test_published_flops_of_vgg16(row: object) -> None:
    """The published column has four or five digits; 0.05 % is what its rounding leaves open."""
    counted = complexity(create_model("vgg16_cifar", row.variant), CIFAR)
    assert counted.paper_flops == pytest.approx(row.paper_flops, rel=5e-4)


@pytest.mark.parametrize(
    ("network", "variant", "input_size", "millions"),
    [
        ("resnet56_cifar", "dense", CIFAR, 125.49),
        ("resnet56_cifar", "het-p2", CIFAR, 69.91),
        ("resnet56_cifar", "het-p4", CIFAR, 42.12),
        ("resnet56_cifar", "het-p8", CIFAR, 28.23),
        ("vgg16_cifar", "gwc4-pwc", CIFAR, 107.42),
        ("vgg16_cifar", "dwc-pwc", CIFAR, 38.28),
        ("resnet50", "het-p4", IMAGENET, 2857),
        ("resnet34", "het-p4", IMAGENET, 1313),
        ("resnet34", "dense", IMAGENET, 3664),
        ("mobilenet_v1", "dwc-pwc", IMAGENET, 569),
    ],
)
def test_known_macs(network: str, variant: str, input_size: tuple[int, int, int], millions: float) -> None:
    num_classes = 10 if input_size is CIFAR else 1000
    counted = complexity(create_model(network, variant, num_classes), input_size)
    assert counted.macs / 1e6 == pytest.approx(millions, rel=5e-4)


def test_one_layer_of_each_kind_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1),
        HetConv2d(4, 8, 3, p=4), nn.ConvTranspose2d(8, 2, 2, stride=2), nn.Flatten(), nn.Linear(128, 3),
    )  # fmt: skip
    counted = complexity(model, (4, 10, 10))
    found = {layer.name: (layer.kind, layer.macs, layer.params, layer.paper_flops) for layer in counted.layers}
    assert found == {
        "0": ("dense", 100 * 4 * 8 * 9, 4 * 8 * 9 + 8, 100 * 4 * 8 * 9 + 800),
        "1": ("grouped", 64 * 8 * 2 * 9, 8 * 2 * 9 + 8, 64 * 8 * 2 * 9 + 512),
        "2": ("depthwise", 36 * 8 * 9, 8 * 9 + 8, 36 * 8 * 9 + 288),
        "3": ("pointwise", 36 * 32, 36, 36 * 32 + 144),
        "4": ("het", 16 * 8 * (9 + 3), 8 * 12 + 8, 16 * 8 * 12 + 32),
        "5": ("dense", 16 * 8 * 2 * 4, 8 * 2 * 4 + 2, 16 * 8 * 2 * 4 + 128),
        "7": ("linear", 128 * 3, 128 * 3 + 3, 128 * 3 + 3),
    }


def test_the_total_is_the_sum_and_by_torch_s_own_counter_too() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = create_model("resnet20_cifar", "het-p4")
    counted = complexity(model, CIFAR)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(1, *CIFAR))
    assert counted.macs == sum(layer.macs for layer in counted.layers) == counter.get_total_flops() // 2
    assert counted.uncounted == ()


def test_a_shared_layer_counts_each_call_once_and_its_parameters_once() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    counted = complexity(nn.Sequential(conv, nn.ReLU(), conv), (4, 5, 5))
    (layer,) = counted.layers
    assert (layer.calls, layer.macs, counted.params) == (2, 2 * 25 * 4 * 4 * 9, 144)


class Unusual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(x).real
        return spectrum.flatten(2) @ spectrum.flatten(2).transpose(1, 2)


def test_what_is_outside_of_layers_and_what_cannot_be_counted_is_said() -> None:
    counted = complexity(Unusual(), (2, 4, 4))
    assert [(layer.name, layer.macs) for layer in counted.layers] == [("(other)", 2 * 2 * 16)]
    assert any("fft" in name for name in counted.uncounted)
    assert "layer never was not called" in counted.uncounted


def test_an_input_without_batch_counts_as_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), HetConv2d(16, 16, 3, padding=1, p=4))
    counted = complexity(model, example=torch.randn(3, 32, 20))
    assert counted.layers == complexity(model, (3, 32, 20)).layers


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(input=x)


def test_a_layer_called_by_name_is_counted() -> None:
    assert complexity(Named(), (3, 4, 4)).macs == 4 * 3 * 4 * 9


def test_attention_is_counted() -> None:
    """Projections of q, k, v and the output, and the two products with the scores: 4·L·E² + 2·L²·E."""
    encoder = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
    counted = complexity(encoder, example=torch.randn(1, 5, 8))
    assert counted.macs == 4 * 5 * 64 + 2 * 25 * 8 + 2 * 5 * 8 * 16
    assert not any("attention" in name for name in counted.uncounted)


def test_extra_layers_is_the_papers_latency() -> None:
    assert complexity(create_model("vgg16_cifar", "het-p4"), CIFAR).extra_layers == 0
    assert complexity(create_model("vgg16_cifar", "dwc-pwc"), CIFAR).extra_layers == 12
    assert complexity(create_model("vgg16_cifar", "het-p4-se"), CIFAR).extra_layers == 24


def test_the_model_is_left_as_it_was() -> None:
    model = create_model("resnet20_cifar", "het-p4", width=0.5).train()
    model.stages[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    complexity(model, CIFAR)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_an_example_instead_of_a_size() -> None:
    model = nn.Conv2d(3, 4, 3)
    assert complexity(model, example=torch.randn(2, 3, 5, 5)).macs == 2 * 9 * 3 * 4 * 9


@pytest.mark.parametrize(
    "arguments", [{}, {"input_size": (3, 4)}, {"input_size": (3, 0, 4)}, {"input_size": (4, 8, 8)}]
)
def test_wrong_input_is_one_clear_error(arguments: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(UsageError):
        complexity(nn.Conv2d(3, 4, 3), **arguments)
