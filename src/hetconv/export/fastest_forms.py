"""Which form each HetConv layer of a network runs fastest in: layers that are alike are timed once, in turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from hetconv.clock import medians_in_turns, wall
from hetconv.errors import HetconvError
from hetconv.export.forms import Form, Mixed, forms_to_try, in_form
from hetconv.export.onnx_model import layers_to_onnx
from hetconv.export.prepared_network import blocked, layers_of
from hetconv.foreign import describe_error
from hetconv.nn import HetConv2d

ROUNDS = 7
FAR_SLOWER = 1.5
"""Times alone tell less than that: within a network, images stay in the runtime's own layout between layers."""
Open = Callable[[bytes], Callable[[Any], Any]]
"""Loads an ONNX model into the runtime that it is for."""


@dataclass(frozen=True)
class LayerForm:
    """Layers of a network that are alike, and the form they run fastest in.

    Attributes:
        names: of the layers.
        layer: their sizes, and those of their input, in words.
        timed_ms: median time of each form.
        form: the fastest one.
        refused: forms that the runtime does not take, and why.
    """

    names: tuple[str, ...]
    layer: str
    timed_ms: dict[Form, float]
    form: Form
    refused: dict[Form, str]


@dataclass(frozen=True)
class Kind:
    """Layers of a network that are alike, as small ONNX models: one a form, with the activation that follows.

    Attributes:
        shape: of their input, (B, C, H, W).
    """

    names: tuple[str, ...]
    layer: str
    shape: tuple[int, ...]
    models: dict[Form, bytes]


def layer_kinds(model: nn.Module, example: Tensor) -> tuple[Kind, ...]:
    """The HetConv layers of a network that may be in several forms, gathered by what they compute, and exported.

    Raises:
        UsageError: the exporter cannot capture one of them.
    """
    found: dict[tuple[Any, ...], Kind] = {}
    layers: list[HetConv2d] = []
    for name, (layer, shape) in _inputs(blocked(model, example)[0], example).items():
        key = _key(layer, shape)
        if key in found:
            found[key] = replace(found[key], names=(*found[key].names, name))
        elif len(forms_to_try(layer)) > 1:
            found[key] = Kind((name,), _words(layer, shape), shape, {})
            layers.append(layer)
    kinds = tuple(found.values())
    for form in get_args(Form):
        taking = [(kind, layer) for kind, layer in zip(kinds, layers, strict=True) if form in forms_to_try(layer)]
        if taking:
            networks = [nn.Sequential(in_form(layer, form), nn.ReLU()).eval() for _, layer in taking]
            exported = layers_to_onnx(networks, [_random(kind.shape) for kind, _ in taking])
            for (kind, _), onnx in zip(taking, exported, strict=True):
                kind.models[form] = onnx
    return kinds


def choose(kinds: Sequence[Kind], load: Open) -> tuple[LayerForm, ...]:
    """Time the forms of each kind of layer in turns, and take the fastest.

    Raises:
        HetconvError: the runtime takes no form of a layer.
    """
    return tuple(_chosen(kind, load) for kind in kinds)


def mixed(chosen: Sequence[LayerForm]) -> Mixed:
    """The form of each layer by its name."""
    return {name: layer.form for layer in chosen for name in layer.names}


def slow_forms(chosen: Sequence[LayerForm]) -> dict[str, str]:
    """Forms whose layers alone take so much longer than another's that whole networks need no comparison; and why."""
    totals: Counter[Form] = Counter()
    for form in dict.fromkeys(form for layer in chosen for form in layer.timed_ms):
        for layer in chosen:
            slowest = max(layer.timed_ms.values())
            totals[form] += len(layer.names) * layer.timed_ms.get(form, slowest)  # type: ignore[assignment]
    fastest = min(totals.values(), default=0.0)
    return {
        form: f"its layers alone take {total / fastest:.1f} times as long as the fastest form's"
        for form, total in totals.items()
        if total > FAR_SLOWER * fastest
    }


def summary(forms: Mixed) -> str:
    """How many layers have which form: "mixed: dense 8, grouped 4"."""
    counts = sorted(Counter(forms.values()).items())
    return f"mixed: {', '.join(f'{form} {count}' for form, count in counts)}"


def _chosen(kind: Kind, load: Open) -> LayerForm:
    x = _random(kind.shape).numpy()
    running: dict[Form, Callable[[Any], Any]] = {}
    refused: dict[Form, str] = {}
    for form, model in kind.models.items():
        try:
            session = load(model)
            session(x)
            running[form] = session
        except Exception as error:  # whatever a runtime or its converter does
            refused[form] = describe_error(error)
    if not running:
        raise HetconvError(f"{kind.names[0]}: {'; '.join(dict.fromkeys(refused.values()))}")
    times = medians_in_turns({form: wall(call, x) for form, call in running.items()}, ROUNDS)
    return LayerForm(kind.names, kind.layer, times, min(times, key=times.__getitem__), refused)


def _inputs(network: nn.Module, example: Tensor) -> dict[str, tuple[HetConv2d, tuple[int, ...]]]:
    """The layers that the example reaches, and the shape of what each is given first."""
    names = {layer: name for name, layer in layers_of(network).items()}
    found: dict[str, tuple[HetConv2d, tuple[int, ...]]] = {}

    def see(layer: Any, given: tuple[Any, ...]) -> None:
        found.setdefault(names[layer], (layer, tuple(given[0].shape)))

    hooks = [layer.register_forward_pre_hook(see) for layer in names]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return found


def _key(layer: HetConv2d, shape: tuple[int, ...]) -> tuple[Any, ...]:
    where = (layer.stride, layer.padding, layer.dilation, layer.padding_mode)
    return layer.pattern, *where, layer.bias is None, shape


def _words(layer: HetConv2d, shape: tuple[int, ...]) -> str:
    kernel, image = ("×".join(map(str, sizes)) for sizes in (layer.pattern.kernel_hw, shape[2:]))
    stride = "" if set(layer.stride) == {1} else f", stride {'×'.join(map(str, dict.fromkeys(layer.stride)))}"
    return f"het P{layer.p} {layer.in_channels}→{layer.out_channels} {kernel}{stride}, {image}"


def _random(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
