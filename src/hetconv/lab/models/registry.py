"""Networks by name: the study's own, any of torchvision's and timm's, and any `module:function`."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import nn

from hetconv.convert import swap_
from hetconv.errors import UsageError
from hetconv.foreign import foreign
from hetconv.lab.models.airbench import AirbenchCifar
from hetconv.lab.models.mobilenet import MobileNetV1
from hetconv.lab.models.resnet import ResNetCifar
from hetconv.lab.models.variant_layers import Layers
from hetconv.lab.models.vgg import VGG16Cifar
from hetconv.lab.variant import Variant, parse_variant
from hetconv.nn import HetConv2d

OWN_MODELS: dict[str, Callable[..., nn.Module]] = {
    "vgg16_cifar": VGG16Cifar,
    "airbench_cifar": AirbenchCifar,
    "resnet20_cifar": partial(ResNetCifar, blocks=3),
    "resnet56_cifar": partial(ResNetCifar, blocks=9),
    "mobilenet_v1": MobileNetV1,
}

DEFAULT_INPUT_SIZE = {name: (3, 32, 32) for name in OWN_MODELS if name.endswith("_cifar")}
"""(channels, height, width) of one example where it is not `LARGE_IMAGES`."""

LARGE_IMAGES = (3, 224, 224)
TIMM = "timm:"
"""Before the names of timm's networks."""

MOST_CLASSES = 1_000_000
"""More are a slip of the keyboard, which would take all memory."""

FEATURES = "_features"
"""Behind the name of a torchvision network: its part of that name alone."""


def input_size_of(name: str) -> tuple[int, int, int]:
    """The input a named network is meant for: (channels, height, width)."""
    if name.startswith(TIMM):
        configuration = _timm(name).get_pretrained_cfg(name.removeprefix(TIMM), allow_unregistered=True)
        return LARGE_IMAGES if configuration is None else tuple(configuration.input_size)
    return DEFAULT_INPUT_SIZE.get(name, LARGE_IMAGES)


def starts_random(name: str) -> bool:
    """Whether a network of this name has random weights until some are loaded; a function of the user's may load its
    own."""
    return ":" not in name or name.startswith(TIMM)


def create_model(
    name: str, variant: str | Variant = "dense", num_classes: int = 10, *, width: float = 1.0
) -> nn.Module:
    """Build a network, untrained, with one kind of layer in the place of its K×K convolutions.

    Args:
        name: vgg16_cifar, airbench_cifar, resnet20_cifar, resnet56_cifar, mobilenet_v1, any of torchvision's networks
            (resnet50, …), the convolutional part of one (vgg16_features, …), any of timm's (timm:resnet50d, …), or
            `module:function`, which is called with `num_classes` if it takes one.
        variant: see `hetconv.lab.variant.GRAMMAR`. The first convolution always stays standard. In other
            networks than the five named, layers are swapped by `hetconv.convert`'s rules.
        width: the five own networks' channels times this.

    Raises:
        UsageError: a name or variant is unknown, or the network has no convolution to replace.
    """
    parsed = parse_variant(variant) if isinstance(variant, str) else variant
    if parsed.method is not None:
        raise UsageError(
            f"variant {parsed.spec!r} is {parsed.base} after training and {parsed.method}: hetconv compare and "
            f"hetconv.lab.compress make it; {parsed.base} can be built"
        )
    if not 1 <= num_classes <= MOST_CLASSES:
        raise UsageError(f"num_classes={num_classes} must be between 1 and {MOST_CLASSES:,}")
    if name in OWN_MODELS:
        _check_width(width * parsed.width)
        layers = Layers(parsed)
        model = _called(name, lambda: OWN_MODELS[name](layers, num_classes=num_classes, width=width * parsed.width))
        layers.warn_if_lowered(name)
        return model
    if width * parsed.width != 1.0:
        raise UsageError(f"width={width} is for {', '.join(OWN_MODELS)} only")
    if name.startswith(TIMM):
        return _with_variant(_from_timm(name, num_classes), name, parsed, keep_weights=False)
    if ":" in name:
        return _with_variant(_from_function(name, num_classes), name, parsed, keep_weights=True)
    return _with_variant(_from_torchvision(name, num_classes), name, parsed, keep_weights=False)


def _check_width(width: float) -> None:
    if not 0 < width <= 16 or (width * 16) % 1:
        raise UsageError(f"width={width} must be a multiple of 1/16 between 1/16 and 16, so that channels are whole")


def _from_torchvision(name: str, num_classes: int) -> nn.Module:
    from torchvision import models

    known = models.list_models()
    if name.endswith(FEATURES) and name.removesuffix(FEATURES) in known:
        return _features(_from_torchvision(name.removesuffix(FEATURES), num_classes), name)
    if name not in known:
        every = [*OWN_MODELS, *known]
        near = difflib.get_close_matches(name, every, n=3) or list(OWN_MODELS)
        raise UsageError(f"unknown network {name!r}; nearest: {', '.join(near)}; or give timm:NAME or module:function")
    taken = inspect.signature(models.get_model_builder(name)).parameters
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if "weights_backbone" in taken:
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": True, "aux_logits": False}
    return _called(name, lambda: models.get_model(name, **options))


def _from_timm(name: str, num_classes: int) -> nn.Module:
    timm, plain = _timm(name), name.removeprefix(TIMM)
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), n=3)
        raise UsageError(
            f"timm has no network {plain!r}{'; nearest: ' if near else ''}{', '.join(TIMM + one for one in near)}"
        )
    return _called(name, lambda: timm.create_model(plain, pretrained=False, num_classes=num_classes))


def _timm(name: str) -> Any:
    try:
        return importlib.import_module("timm.models")
    except ModuleNotFoundError as error:
        raise UsageError(f"network {name!r} needs timm, which is not installed: pip install timm") from error


def _features(model: nn.Module, name: str) -> nn.Module:
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Module):
        base = name.removesuffix(FEATURES)
        raise UsageError(f"network {name!r} cannot be made: {base} has no part called features; take {base}")
    return features


def _from_function(name: str, num_classes: int) -> nn.Module:
    with _working_folder():
        return _from_importable_function(name, num_classes)


@contextlib.contextmanager
def _working_folder() -> Iterator[None]:
    """Let modules of the working folder be imported, behind all that are installed, while the user's own network is
    made; at any other time a file there must not take the place of a module that is not installed."""
    folder = os.getcwd()
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _from_importable_function(name: str, num_classes: int) -> nn.Module:
    module_name, _, function_name = name.partition(":")
    with foreign(f"cannot find network {name!r}", way_out="write it as module:function"):
        function = getattr(importlib.import_module(module_name), function_name)
    if not callable(function):
        raise UsageError(f"{name!r} is no function or class that makes a network")
    takes_classes = _takes_classes(function)
    return _called(name, lambda: function(num_classes=num_classes) if takes_classes else function())


def _takes_classes(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions of C have none
        return False
    return "num_classes" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _called(name: str, make: Callable[[], Any]) -> nn.Module:
    """What somebody else's code makes, whatever it does."""
    with foreign(f"network {name!r} cannot be made"):
        model = make()
    if not isinstance(model, nn.Module):
        raise UsageError(f"{name!r} made a {type(model).__name__}, not a torch.nn.Module")
    return model


def _with_variant(model: nn.Module, name: str, variant: Variant, keep_weights: bool) -> nn.Module:
    """Swap the layers of a network that is not one of ours.

    With `keep_weights`, HetConv layers start from what their pattern keeps of the network's weights, which may be
    trained; else afresh, with their own fan-in.
    """
    if variant.squeeze_excitation:
        raise UsageError(
            f"variant {variant.spec!r}: -se is for {', '.join(OWN_MODELS)}; elsewhere its place is not defined"
        )
    if variant.layer == "dense":
        return model
    layers = Layers(variant)

    def replacement(_: str, conv: Any) -> nn.Module:
        sizes = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        new = layers.conv(*sizes, bias=conv.bias is not None, padding_mode=conv.padding_mode)
        if keep_weights and isinstance(new, HetConv2d):
            return HetConv2d.from_dense(conv, new.p, new.arrangement)
        return new.to(conv.weight.device, conv.weight.dtype).train(conv.training)

    report = swap_(model, replacement)
    if not report.converted:
        reasons = dict.fromkeys(entry.reason for entry in report.skipped)
        raise UsageError(f"{name} has no convolution that {variant.spec} could replace: {'; '.join(list(reasons)[:3])}")
    layers.warn_if_lowered(name)
    return model
