"""The weights of a file put into a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.nn import HetConv2d
from hetconv.ops.weights import from_dense_weight
from hetconv.tensor_file import NotSafetensorsError, read_tensors
from hetconv.wrappers import unwrap, unwrapped_names


def load_weights(path: Path | str, model: nn.Module, *, from_dense: bool = False) -> None:
    """Put the weights of a file into a model: of a checkpoint, or of any state dict that was saved as safetensors.

    Names as wrappers (DDP, torch.compile, Lightning and others) put them into a state dict are the network's own then.

    Args:
        from_dense: where the file is of the dense network, each HetConv layer takes what its pattern keeps of its
            kernel, as `convert_` does; train the network then. Without, such a file is refused.

    Raises:
        UsageError: there is no such file, it is no safetensors file, or it is of another model.
    """
    model, path = unwrap(model), Path(path)
    if not path.is_file():
        raise UsageError(f"looked for the weights {path}; they are not there")
    try:
        read = read_tensors(path)
    except NotSafetensorsError as error:
        raise UsageError(
            f"{path} is not a whole safetensors file ({error}); "
            "write one with safetensors.torch.save_file(model.state_dict(), path)"
        ) from error
    tensors = read.tensors
    if "hetconv" in read.metadata:
        tensors = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    wanted = model.state_dict()
    layers = {} if any(name.endswith(".weight_spatial") for name in tensors) else _layers(model)
    try:
        tensors = unwrapped_names(tensors, _dense_names(wanted, layers))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    if from_dense:
        tensors = _converted(tensors, layers)
    reason = _why_not(tensors, wanted)
    if reason is not None:
        raise UsageError(
            f"{path} holds the weights of another model: {reason}; "
            "make the model with the classes and width that it was trained with"
        )
    model.load_state_dict(tensors)


def _layers(model: nn.Module) -> dict[str, HetConv2d]:
    """Every HetConv layer under each of its names, with a dot behind."""
    named = model.named_modules(remove_duplicate=False)
    return {f"{name}." if name else "": module for name, module in named if isinstance(module, HetConv2d)}


def _dense_names(names: Iterable[str], layers: Mapping[str, HetConv2d]) -> list[str]:
    """The names of a state dict whose HetConv layers are still dense."""
    own = {f"{prefix}{name}" for prefix in layers for name in ("weight_spatial", "weight_pointwise", "_extra_state")}
    return [*(name for name in names if name not in own), *(f"{prefix}weight" for prefix in layers)]


def _converted(weights: dict[str, Tensor], layers: Mapping[str, HetConv2d]) -> dict[str, Tensor]:
    """A dense network's weights as those of one that has these HetConv layers; of others, its kernels stay."""
    for prefix, layer in layers.items():
        kernel = weights.get(f"{prefix}weight")
        if kernel is None or kernel.shape != (layer.out_channels, layer.in_channels, *layer.kernel_size):
            continue
        del weights[f"{prefix}weight"]
        weights[f"{prefix}weight_spatial"], pointwise = from_dense_weight(kernel, layer.pattern)
        if layer.p > 1:
            weights[f"{prefix}weight_pointwise"] = pointwise
        weights[f"{prefix}_extra_state"] = layer.get_extra_state()
    return weights


def _why_not(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> str | None:
    """Why a state dict is not this one, in a few words; None if it is."""
    for name in (name.removesuffix("_spatial") for name in wanted if name.endswith(".weight_spatial")):
        if name in weights:
            return f"{name} is a dense kernel; load it into the dense network and convert that"
    missing = [name for name in wanted if name not in weights]
    unknown = [name for name in weights if name not in wanted]
    parts = []
    if missing:
        parts.append(f"it lacks {_some(missing)}")
    if unknown:
        parts.append(f"it has {_some(unknown)}")
    if parts:
        return " and ".join(parts)
    for name, tensor in wanted.items():
        if weights[name].shape != tensor.shape:
            return f"{name} has shape {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
    return None


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
