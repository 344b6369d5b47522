"""Why a convolution cannot become a HetConv layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod

from hetconv.convert.model_convolutions import Site
from hetconv.nn import HetConv2d
from hetconv.wrappers import is_compiled

HOOKS = {
    "_forward_pre_hooks": "forward pre-hook",
    "_forward_hooks": "forward hook",
    "_backward_pre_hooks": "backward pre-hook",
    "_backward_hooks": "backward hook",
    "_state_dict_pre_hooks": "state-dict pre-hook",
    "_state_dict_hooks": "state-dict hook",
    "_load_state_dict_pre_hooks": "load-state-dict pre-hook",
    "_load_state_dict_post_hooks": "load-state-dict post-hook",
}
REPARAMETRIZATIONS = {"WeightNorm": "remove_weight_norm", "SpectralNorm": "remove_spectral_norm"}
OVERRIDABLE = ("__call__", "_call_impl", "forward", "_conv_forward", "__getattr__", "weight", "bias")


def why_not(site: Site) -> str | None:
    """Why the convolution at a site cannot be swapped for another layer, whatever P is; None if it can."""
    for check in _CHECKS:
        reason = check(site)
        if reason is not None:
            return reason
    return None


def _kind(site: Site) -> str | None:
    conv = site.module
    kind = type(conv).__name__
    if isinstance(conv, HetConv2d):
        return f"already HetConv (p={conv.p})"
    if isinstance(conv, torch.jit.ScriptModule) or any(isinstance(p, torch.jit.ScriptModule) for p, _ in site.places):
        return "TorchScript, whose code is fixed; convert the model before scripting it"
    if isinstance(conv, LazyModuleMixin):
        return "lazy: its channels are unknown until a first forward pass; run one and convert then"
    if type(conv).__module__.startswith("torch.ao.") and "quantized" in type(conv).__module__:
        return f"quantized ({kind}); convert the float model before quantizing it"
    if isinstance(conv, _ConvTransposeNd):
        return f"transposed ({kind})"
    if isinstance(conv, nn.Conv1d | nn.Conv3d):
        return f"{'1-d' if isinstance(conv, nn.Conv1d) else '3-d'} ({kind}); HetConv is 2-d"
    return None if isinstance(conv, nn.Conv2d) else f"{kind} is not an nn.Conv2d"


def _parametrization(site: Site) -> str | None:
    conv = site.module
    if not parametrize.is_parametrized(conv):
        return None
    names = ", ".join(conv.parametrizations)  # type: ignore[arg-type]
    return f"parametrized ({names}); torch.nn.utils.parametrize.remove_parametrizations makes it plain"


def _subclass(site: Site) -> str | None:
    """A subclass that computes something else; one that merely has a name of its own is a plain convolution."""
    kind = type(site.module)
    changed = [name for name in OVERRIDABLE if getattr(kind, name, None) is not getattr(nn.Conv2d, name, None)]
    if "forward" in vars(site.module) or "_conv_forward" in vars(site.module):
        return "its forward is replaced on this module alone"
    return f"{kind.__module__}.{kind.__name__} overrides nn.Conv2d's {', '.join(changed)}" if changed else None


def _geometry(site: Site) -> str | None:
    conv = site.conv2d
    height, width = conv.kernel_size
    if min(conv.in_channels, conv.out_channels) < 1:
        return "it has no weights"
    if conv.groups == conv.in_channels > 1:
        return "depthwise: each filter reads one channel only"
    if conv.groups != 1:
        return f"grouped (groups={conv.groups})"
    if (height, width) == (1, 1):
        return "1×1: it has no larger kernels to replace"
    if height % 2 == 0 or width % 2 == 0:
        return f"kernel_size=({height}, {width}) is even, without a centre tap"
    return None


def _hooks(site: Site) -> str | None:
    """Hooks are neither moved nor dropped: one may read the weights, and its handle removes it from the old module."""
    for attribute, kind in HOOKS.items():
        for hook in getattr(site.module, attribute).values():
            name = getattr(hook, "__name__", type(hook).__name__)
            if name in REPARAMETRIZATIONS:
                return f"{name} recomputes its weight; torch.nn.utils.{REPARAMETRIZATIONS[name]} makes it plain"
            if isinstance(hook, BasePruningMethod):
                return f"pruned ({name}); torch.nn.utils.prune.remove makes it permanent"
            return f"it has a {kind} ({name}); remove it, convert, and register it on the new layer"
    return None


def _own_state(site: Site) -> str | None:
    conv = site.module
    own = {*conv._parameters, *conv._buffers, *conv._modules} - {"weight", "bias"}
    return f"it has parameters, buffers or children of its own: {', '.join(sorted(own))}" if own else None


def _tensors(site: Site) -> str | None:
    for name in ("weight", "bias"):
        tensor = getattr(site.module, name)
        if tensor is None and name == "bias":
            continue
        if type(tensor) is not nn.Parameter:
            return f"its {name} is a {type(tensor).__name__}, not a Parameter"
        if not tensor.is_floating_point():
            return f"its {name} is {tensor.dtype}, not floating-point"
        if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
            return f"its {name} has a gradient hook; remove it, convert, and register it on the new parameters"
    return None


def _surroundings(site: Site) -> str | None:
    if site.module._compiled_call_impl is not None or any(is_compiled(parent) for parent, _ in site.places):
        return "compiled on its own; convert before torch.compile"
    return site.elsewhere[0] if site.elsewhere else None


_CHECKS: tuple[Callable[[Site], str | None], ...] = (
    _kind,
    _parametrization,
    _subclass,
    _geometry,
    _hooks,
    _own_state,
    _tensors,
    _surroundings,
)
