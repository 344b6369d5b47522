import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hetconv import HetConv2d
from hetconv.errors import UsageError
from hetconv.lab.models import create_model, input_size_of
from hetconv.nn import GroupwisePointwise, SqueezeExcitation

VARIANTS = ("dense", "het-p4", "het-pc", "het-p4-blocked", "het-p4-se", "gwc4-pwc", "dwc-pwc")
REPLACED = {"vgg16_cifar": 12, "resnet20_cifar": 18, "mobilenet_v1": 13}


def count(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", REPLACED)
def test_own_networks_run_and_train_in_every_variant(name: str, variant: str) -> None:
    model = create_model(name, variant, num_classes=7, width=0.25)
    logits = model(torch.randn(2, *input_size_of("vgg16_cifar")))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    layers = {"het": HetConv2d, "gwc": GroupwisePointwise, "dwc": GroupwisePointwise}.get(variant[:3])
    if layers is not None:
        assert count(model, layers) == REPLACED[name]
    if variant.endswith("-se"):
        assert count(model, SqueezeExcitation) == (9 if name == "resnet20_cifar" else REPLACED[name])


def test_the_first_convolution_stays_standard() -> None:
    for name in REPLACED:
        first = next(module for module in create_model(name, "het-p4").modules() if isinstance(module, nn.Conv2d))
        assert first.in_channels == 3


def test_resnet56_has_56_weighted_layers() -> None:
    model = create_model("resnet56_cifar", "het-p4")
    assert count(model, HetConv2d) == 54
    assert count(model, nn.Conv2d) + count(model, nn.Linear) == 2


def test_a_residual_shortcut_is_the_subsampled_input_with_zero_channels() -> None:
    block = create_model("resnet20_cifar").get_submodule("stages.3")
    x = torch.randn(1, 16, 4, 4)
    shortcut = block._shortcut(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert not shortcut[:, :8].any()
    assert not shortcut[:, 24:].any()


def test_the_convolutional_part_of_a_network() -> None:
    with torch.device("meta"):
        model = create_model("vgg16_features", "het-p8")
        assert model(torch.empty(1, 3, 64, 64)).shape == (1, 512, 2, 2)
    assert count(model, HetConv2d) == 12
    with pytest.raises(UsageError, match="resnet18 has no part called features; take resnet18"):
        create_model("resnet18_features")
    with pytest.raises(UsageError, match="unknown network 'vgg_features'"):
        create_model("vgg_features")


@pytest.mark.parametrize(("name", "replaced"), [("resnet18", 16), ("resnet50", 16), ("vgg16_bn", 12)])
def test_torchvision_networks(name: str, replaced: int) -> None:
    with torch.device("meta"):
        model = create_model(name, "het-p4", num_classes=11)
    assert count(model, HetConv2d) == replaced
    assert count(create_model("resnet18", "dwc-pwc"), GroupwisePointwise) == 16


def test_p_that_does_not_divide_is_lowered_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="p=16 instead of 64"):
        model = create_model("resnet20_cifar", "het-p64")
    assert [m.p for m in model.modules() if isinstance(m, HetConv2d)] == [16] * 7 + [32] * 6 + [64] * 5


def net_without_classes() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))


def net_with_classes(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, num_classes, 1))


def broken() -> nn.Module:
    raise KeyError("nothing")


def reflecting() -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"))


@pytest.mark.parametrize("variant", ["het-p4", "gwc4-pwc"])
def test_a_foreign_network_keeps_its_padding_and_its_weights(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "my_networks", sys.modules[__name__])
    layer = create_model("my_networks:reflecting", variant)[0]
    assert getattr(layer, "groupwise", layer).padding_mode == "reflect"
    torch.manual_seed(0)
    dense = create_model("my_networks:reflecting")[0]
    torch.manual_seed(0)
    if variant == "het-p4":
        assert torch.equal(create_model("my_networks:reflecting", variant)[0].weight_spatial[0], dense.weight[0, ::4])


def test_a_network_without_anything_to_replace_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mobilenet_v2 has no convolution that het-p4 could replace: .*depthwise"):
        create_model("mobilenet_v2", "het-p4")


def no_module() -> int:
    return 3


def test_module_function(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "my_networks", sys.modules[__name__])
    assert count(create_model("my_networks:net_without_classes", "het-p4"), HetConv2d) == 1
    model = create_model("my_networks:net_with_classes", "gwc4-pwc", num_classes=5)
    assert model(torch.randn(1, 8, 4, 4)).shape[1] == 5
    with pytest.raises(UsageError, match=r"made a int, not a torch\.nn\.Module"):
        create_model("my_networks:no_module")
    with pytest.raises(UsageError, match="'my_networks:broken' cannot be made: KeyError"):
        create_model("my_networks:broken")
    with pytest.raises(UsageError, match="write it as module:function"):
        create_model("my_networks:nothing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet51"}, r"unknown network 'resnet51'; nearest: resnet"),
        ({"name": "nowhere:at_all"}, "cannot find network 'nowhere:at_all'"),
        ({"name": "vgg16_cifar", "num_classes": 0}, "num_classes=0 must be between 1 and 1,000,000"),
        ({"name": "vgg16_cifar", "width": 0.3}, "width=0.3 must be a multiple of 1/16"),
        ({"name": "vgg16_cifar", "width": 0}, "width=0.0 must be"),
        ({"name": "resnet18", "width": 0.5}, "width=0.5 is for vgg16_cifar"),
        ({"name": "resnet18", "variant": "het-p4-se"}, "-se is for vgg16_cifar"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create_model(**arguments)  # type: ignore[arg-type]


def test_a_network_in_the_working_folder_is_found_on_purpose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the folder is searched for nothing else."""
    (tmp_path / "nets_in_the_working_folder.py").write_text(
        "from torch import nn\n\ndef small(num_classes):\n    return nn.Linear(2, num_classes)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = list(sys.path)
    assert create_model("nets_in_the_working_folder:small", num_classes=3).out_features == 3
    assert sys.path == before


def test_networks_of_timm_have_their_classes_and_variant():
    timm = pytest.importorskip("timm")
    ours = create_model("timm:resnet10t", "het-p4", 5)
    theirs = timm.create_model("resnet10t", num_classes=5)
    assert ours.state_dict()["fc.weight"].shape == theirs.state_dict()["fc.weight"].shape == (5, 512)
    assert any(isinstance(module, HetConv2d) for module in ours.modules())
    assert input_size_of("timm:resnet10t") == timm.get_pretrained_cfg("resnet10t").input_size
    with pytest.raises(UsageError, match=r"timm has no network 'resnet10x'; nearest: timm:resnet10t"):
        create_model("timm:resnet10x")


def test_without_timm_its_networks_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.models", None)
    with pytest.raises(UsageError, match=r"^network 'timm:resnet50' needs timm, .*: pip install timm$"):
        create_model("timm:resnet50")
