"""The weights of a file put into a network."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.tensor_file import NotSafetensorsError, read_tensors
from hetconv.wrappers import unwrap, unwrapped_names


def load_weights(path: Path, model: nn.Module) -> None:
    """Put the weights of a file into a model: of a checkpoint, or of any state dict that was saved as safetensors.

    Names as wrappers (DDP, torch.compile, Lightning and others) put them into a state dict are the network's own then.

    Raises:
        UsageError: there is no such file, it is no safetensors file, or it is of another model.
    """
    model = unwrap(model)
    if not path.is_file():
        raise UsageError(f"looked for the weights {path}; they are not there")
    try:
        read = read_tensors(path)
    except (NotSafetensorsError, OSError) as error:
        raise UsageError(f"{path} is not a whole safetensors file ({error}); save the state dict as one") from error
    tensors = read.tensors
    if "hetconv" in read.metadata:
        tensors = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    wanted = model.state_dict()
    try:
        tensors = unwrapped_names(tensors, wanted)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    reason = _why_not(tensors, wanted)
    if reason is not None:
        raise UsageError(f"{path} holds the weights of another model: {reason}")
    model.load_state_dict(tensors)


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
