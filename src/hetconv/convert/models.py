"""Which models can be converted in place as a whole."""

from __future__ import annotations

import torch
from torch import nn

from hetconv.convert.refusals import is_compiled
from hetconv.convert.sites import describe, is_convolution
from hetconv.errors import UsageError

WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule")
"""By name, since some are slow to import: they keep parameters of their own account, which a swap would cut off."""


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside what `torch.compile` returned, which is compiled afresh at its next call; else the model."""
    while is_compiled(model):
        model = model._orig_mod  # type: ignore[assignment]
    return model


def check_model(model: object) -> None:
    """Check that layers of the model can be swapped in place.

    Raises:
        UsageError: it is no module, is wrapped or scripted, or is a convolution itself.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}; it must be an nn.Module")
    inner = unwrap(model)
    if isinstance(inner, torch.jit.ScriptModule):
        raise UsageError("model is TorchScript, whose code is fixed; convert the model before scripting or tracing it")
    for name, module in inner.named_modules():
        for base in type(module).__mro__:
            if base.__name__ in WRAPPERS:
                where = f"model.{name}" if name else "model"
                raise UsageError(
                    f"{where} is wrapped in {base.__name__}, which keeps the old parameters; convert the model "
                    f"before wrapping it"
                )
    if is_convolution(inner):
        raise UsageError(
            f"model is itself a convolution ({describe(inner)}), which cannot be swapped in place; use "
            f"HetConv2d.from_dense(model, p), or put it into an nn.Sequential"
        )
