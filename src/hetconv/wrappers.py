"""What wraps a network (DataParallel, DDP, FSDP, torch.compile, averages, LoRA), and the network inside of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.foreign import foreign

COMPILED = "OptimizedModule"
"""What `torch.compile` returns."""
INSIDE = {
    COMPILED: "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",  # torch.optim.swa_utils
    "ModelEmaV2": "module",  # timm
    "ModelEmaV3": "module",
    "_FabricModule": "_original_module",  # Lightning Fabric
}
"""Wrappers that call the network as it is, and where they hold it. By name, since some are slow to import."""
_SHARDED = (
    "each process has a share of the weights only; gather them (torch.distributed.checkpoint.state_dict, "
    "get_model_state_dict with full_state_dict=True) and load them into the plain network"
)
_ADAPTED = "its layers are adapters' (peft); merge them first: model.merge_and_unload()"
CHANGED = {
    "FullyShardedDataParallel": _SHARDED,
    "FSDPModule": _SHARDED,
    "PeftModel": _ADAPTED,
    "BaseTunerLayer": _ADAPTED,
}
"""Wrappers that change the network's layers or weights: why it cannot be taken out, and the way."""
BOOKKEEPING = {"n_averaged"}
"""Names in wrappers' state dicts that are not the network's."""


def unwrap(model: object) -> nn.Module:
    """The network inside of its wrappers; a network that is not wrapped is itself.

    Wrappers of its parts stay.

    Raises:
        UsageError: it is no module, TorchScript, or wrapped in what changes its weights (FSDP, LoRA), itself or a part.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}; it must be an nn.Module")
    inner = model
    while (inside := _inside(inner)) is not None:
        inner = inside
    if isinstance(inner, torch.jit.ScriptModule):
        raise UsageError("model is TorchScript, whose code is fixed; take the model that was scripted or traced")
    for name, module in inner.named_modules():
        for kind in sorted(_kinds(module) & set(CHANGED)):
            raise UsageError(f"{_place(name)} is wrapped in {kind}: {CHANGED[kind]}")
    return inner


def copied(model: object) -> nn.Module:
    """A copy of the network that shares nothing with it, outside of its wrappers, and its parts outside of theirs.

    Raises:
        UsageError: as `unwrap`; or it cannot be copied: the message says why.
    """
    network = unwrap(model)
    known: dict[int, Any] = {}
    with foreign(f"{type(network).__name__} cannot be copied"):
        for module in reversed(list(network.modules())):  # inner wrappers first
            if _inside(module) is not None:
                known[id(module)] = copy.deepcopy(unwrap(module), known)
        return copy.deepcopy(network, known)


def is_compiled(module: nn.Module) -> bool:
    """Whether this is the module that `torch.compile` returns."""
    return COMPILED in _kinds(module)


def wrapped_in(model: nn.Module, kind: str) -> Iterator[str]:
    """Where the model, or a part of it, is wrapped in this, in words."""
    for name, module in model.named_modules():
        if kind in _kinds(module):
            yield _place(name)


def unwrapped_names(weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """A state dict under the network's own names, where it was saved with its wrappers around it.

    Wrappers put something before the names that are in them: module., _orig_mod., and Lightning the attribute that
    holds the network, such as model.

    Args:
        names: of the network's state dict.

    Returns:
        the weights under these names; as they are, if no change of that kind makes them so.

    Raises:
        UsageError: the network's names are all there behind one prefix, but there are others too.
    """
    wanted = set(names)
    found = {name: weight for name, weight in weights.items() if name not in BOOKKEEPING or name in wanted}
    for candidate in (found, {_without_wrappers(name): weight for name, weight in found.items()}):
        if set(candidate) == wanted:
            return candidate
        prefix = _prefix(candidate, wanted)
        if prefix:
            others = [name for name in candidate if not name.startswith(prefix)]
            if others:
                raise UsageError(
                    f"the network's names begin with {prefix!r} there, and there are others ({others[0]}); save the "
                    f"state dict of that module alone"
                )
            return {name.removeprefix(prefix): weight for name, weight in candidate.items()}
    return dict(weights)


def _prefix(weights: Iterable[str], wanted: set[str]) -> str:
    """What stands before every one of the wanted names; empty if nothing does that."""
    have = set(weights)
    first = min(wanted, default="")
    for name in have:
        prefix = name.removesuffix(first)
        if name.endswith(f".{first}") and {n.removeprefix(prefix) for n in have if n.startswith(prefix)} == wanted:
            return prefix
    return ""


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in {"_orig_mod", "module", "_fsdp_wrapped_module"})


def _inside(module: nn.Module) -> nn.Module | None:
    """The module that a wrapper holds; None of one that is no wrapper."""
    for kind in _kinds(module) & set(INSIDE):
        inside = getattr(module, INSIDE[kind])
        if isinstance(inside, nn.Module):
            return inside
    return None


def _kinds(module: nn.Module) -> set[str]:
    return {base.__name__ for base in type(module).__mro__}


def _place(name: str) -> str:
    return f"model.{name}" if name else "model"
