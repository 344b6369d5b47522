"""Training state in one file: tensors as safetensors, everything else as JSON in its header.

The checkpoint before the last one is kept beside it, for when a power cut spoils the last.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from hetconv.errors import DamagedFileError, UsageError
from hetconv.files import temporary_name, write_atomically
from hetconv.lab.results import Epoch
from hetconv.lab.trained import METADATA
from hetconv.records import adapter
from hetconv.tensor_file import NotSafetensorsError, read_tensors

FORMAT = "hetconv-checkpoint-1"


@dataclass(frozen=True)
class Header:
    """What a checkpoint is of: `identity` names the run (network, variant, seed, recipe, …) it may be used for.

    `checksum` is CRC-32 of all tensors' bytes: a file may have its right length and yet not what was written to it.
    """

    format: str
    identity: dict[str, Any]
    epochs: tuple[Epoch, ...]
    checksum: int | None = None


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, identity: dict[str, Any],
                    epochs: tuple[Epoch, ...]) -> None:  # fmt: skip
    """Write model and optimizer whole or not at all; the checkpoint that stood there stays beside it.

    Raises:
        HetconvError: the disk is full or the folder cannot be written to.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": v for key, v in state.items() if isinstance(v, Tensor)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = adapter(Header).dump_json(Header(FORMAT, identity, epochs, _checksum(contiguous))).decode()
    _keep_previous(path)
    write_atomically(path, save(contiguous, metadata={METADATA: header}))


def _keep_previous(path: Path) -> None:
    """A second name for what stands at `path`, which at no moment is without a file."""
    if not path.exists():
        return
    temporary = temporary_name(previous(path))
    with contextlib.suppress(OSError):  # a file system without second names keeps the last checkpoint only
        temporary.unlink(missing_ok=True)
        os.link(path, temporary)
        temporary.replace(previous(path))


def _checksum(tensors: dict[str, Tensor]) -> int:
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def read_header(path: Path) -> Header:
    """The checkpoint's header alone.

    Raises:
        UsageError: there is no such file, or it is no checkpoint of this package.
        DamagedFileError: it is cut short or changed.
    """
    return _read(path)[0]


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None,
                    identity: dict[str, Any]) -> tuple[Epoch, ...]:  # fmt: skip
    """Put a checkpoint's state into the model and the optimizer, and return the epochs it has behind it.

    Raises:
        UsageError: the checkpoint is of another run: it names what differs.
        DamagedFileError: the file is cut short or changed.
    """
    header, tensors = _read(path)
    different = [key for key in identity | header.identity if identity.get(key) != header.identity.get(key)]
    if different:
        was, now = ({key: side.get(key) for key in different} for side in (header.identity, identity))
        raise UsageError(f"{path} is a checkpoint of another run: it has {was}, this one {now}")
    states: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        owner, _, rest = name.partition(".")
        if owner == "model":
            weights[rest] = tensor
        else:
            index, _, key = rest.partition(".")
            states.setdefault(int(index), {})[key] = tensor
    why = _why_not_of(model, weights)
    if why is not None:
        raise UsageError(
            f"{path} is a checkpoint of another network than this one ({why}); go on with the network that it was "
            "begun with, or give another folder"
        )
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return header.epochs


def _why_not_of(model: nn.Module, weights: dict[str, Tensor]) -> str | None:
    """Why these are not the weights of this network: the first that differs in name or shape."""
    own = model.state_dict()
    for name in own | weights:
        if name not in weights:
            return f"{name} is not in the checkpoint"
        if name not in own:
            return f"{name} is not in the network"
        if weights[name].shape != own[name].shape:
            return f"{name} has the shape {tuple(weights[name].shape)} there and {tuple(own[name].shape)} here"
    return None


def _read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    if not path.is_file():
        raise UsageError(f"looked for the checkpoint {path}; it is not there")
    try:
        found = read_tensors(path)
    except NotSafetensorsError as error:
        raise DamagedFileError(path, f"not a whole safetensors file ({error})") from error
    header, tensors = found.metadata.get(METADATA), found.tensors
    if header is None:
        raise UsageError(f"{path} is a safetensors file but no checkpoint of hetconv")
    try:
        read = adapter(Header).validate_json(header)
    except ValidationError as error:
        raise DamagedFileError(path, f"its header cannot be read ({error})") from error
    if read.checksum is not None and read.checksum != _checksum(tensors):
        raise DamagedFileError(path, "its checksum is not that of its tensors")
    return read, tensors
