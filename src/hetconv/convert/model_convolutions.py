"""Where the convolutions of a model are, and who else holds them or their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd


@dataclass(frozen=True, eq=False)
class Site:
    """One convolution and every place where it is registered.

    Attributes:
        names: its full module names; more than one if it, or a module around it, is shared.
        places: (parent module, the key under which the parent registers it), each once.
        elsewhere: where it or a parameter of it is also held, so that swapping it would tear the two apart, in words.
    """

    module: nn.Module
    names: tuple[str, ...]
    places: tuple[tuple[nn.Module, str], ...]
    elsewhere: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def conv2d(self) -> nn.Conv2d:
        if not isinstance(self.module, nn.Conv2d):
            raise TypeError(f"{self.name} is a {type(self.module).__name__}, not an nn.Conv2d")
        return self.module


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """Every convolution of the model once, in the model's own order."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if is_convolution(module):
            names.setdefault(module, []).append(name)
    places: dict[nn.Module, list[tuple[nn.Module, str]]] = {module: [] for module in names}
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child in places:
                places[child].append((parent, key))
    holders = _Holders(model)
    return tuple(Site(m, tuple(names[m]), tuple(places[m]), tuple(holders.besides(m))) for m in names)


def is_convolution(module: nn.Module) -> bool:
    """Whether a module is a convolution of any kind: 1-d to 3-d, transposed, lazy, quantized, scripted, or foreign.

    Foreign ones (a deformable convolution, say) are recognised by having channels, a kernel size and no child.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return "Conv" in module.original_name and not any(module.children())
    sizes = ("in_channels", "out_channels", "kernel_size")
    return isinstance(module, _ConvNd) or (
        all(hasattr(module, size) for size in sizes) and next(module.children(), None) is None
    )


def describe(module: nn.Module) -> str:
    """A convolution in a few words: `Conv2d 64→128 3×3`."""
    words = [module.original_name if isinstance(module, torch.jit.ScriptModule) else type(module).__name__]
    if hasattr(module, "in_channels") and hasattr(module, "out_channels"):
        words.append(f"{module.in_channels}→{module.out_channels}")
    size = getattr(module, "kernel_size", None)
    if size is not None:
        words.append("×".join(map(str, size if isinstance(size, tuple) else (size, size))))
    return " ".join(words)


class _Holders:
    """Who holds which module and parameter of a model, besides the places where modules are registered."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
        self._hidden: dict[int, str] = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    self._parameters.setdefault(parameter, []).append((module, f"{name}.{key}".lstrip(".")))
            for key, value in vars(module).items():
                if key not in _MODULE_ATTRIBUTES:
                    self._hidden.update((id(held), f"{name}.{key}".lstrip(".")) for held in _contents(value))

    def besides(self, conv: nn.Module) -> Iterator[str]:
        """Who else holds this convolution or one of its parameters."""
        if isinstance(conv, torch.jit.ScriptModule):
            return
        if id(conv) in self._hidden:
            yield f"also held in {self._hidden[id(conv)]}, outside the registered modules; register it as a module"
        for key, parameter in conv._parameters.items():
            if parameter is None:
                continue
            others = [name for module, name in self._parameters.get(parameter, []) if module is not conv]
            if others:
                yield f"{key} is tied to {', '.join(others)}, and conversion would untie them"
            if id(parameter) in self._hidden:
                yield f"{key} is also held in {self._hidden[id(parameter)]}, and conversion would untie them"


_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))


def _contents(value: Any) -> Iterator[nn.Module | nn.Parameter]:
    """The modules and parameters in an attribute, looked for in containers too."""
    if isinstance(value, nn.Module | nn.Parameter):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _contents(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _contents(item)
