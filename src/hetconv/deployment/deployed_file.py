"""A deployed network in one file: natural weights as safetensors, everything else as JSON in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from hetconv.deployment.deploy_report import DeployReport
from hetconv.deployment.deployed import Deployed
from hetconv.deployment.deployed_part import DeployedPart
from hetconv.deployment.graph_json import GraphError
from hetconv.deployment.int8.module import Int8Network
from hetconv.deployment.int8.saved import SavedInt8, load_int8, save_int8
from hetconv.deployment.saved_part import SavedPart, load_part, save_part
from hetconv.errors import DamagedFileError, UsageError
from hetconv.files import write_atomically
from hetconv.foreign import describe_error
from hetconv.ops import native
from hetconv.records import Record
from hetconv.tensor_file import Layout, Memory, NotSafetensorsError, TensorReader
from hetconv.wrappers import copied

FORMAT = "hetconv-deployed-2"
_HEADER, _DIGESTS, _CHECKSUM = "hetconv_deployed", "tensors", "sha256"
_REST = ".rest"
"""Before the names of tensors that are in no graph. Others begin with a module's path, and none of these with a dot."""


@dataclass(frozen=True)
class Header(Record):
    """Everything of a deployed network but its tensors."""

    format: str
    parts: tuple[SavedPart, ...]
    report: DeployReport
    int8: SavedInt8 | None = None
    class_names: tuple[str, ...] = ()
    image_size: int | None = None


def save_deployed(deployed: Deployed, path: Path) -> None:
    """Write the network whole or not at all.

    Raises:
        HetconvError: the disk is full or the folder cannot be written to.
        UsageError: weights were packed for an instruction set that is no longer chosen, or a graph has a larger number
            than is read back.
    """
    tensors: dict[str, Tensor] = {}
    parts = []
    for part in _parts(deployed.network):
        saved, its_tensors = save_part(part)
        parts.append(saved)
        tensors |= its_tensors
    if not isinstance(deployed.network, DeployedPart):
        tensors |= {f"{_REST}/{name}": value for name, value in deployed.network.state_dict().items()}
    tensors = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    int8 = None
    if isinstance(deployed.network, Int8Network):
        int8, values = save_int8(deployed.network)
        tensors |= {name: value.contiguous().clone() for name, value in values.items()}
    found = Header(FORMAT, tuple(parts), deployed.report, int8, tuple(deployed.class_names), deployed.image_size)
    header = TypeAdapter(Header).dump_json(found).decode()
    write_atomically(path, save(tensors, metadata=_metadata(header, tensors)))


def _metadata(header: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    digests = json.dumps({name: _digest_of(name, tensors[name]) for name in sorted(tensors)})
    return {_HEADER: header, _DIGESTS: digests, _CHECKSUM: _checksum(header, digests)}


def is_deployed(metadata: Mapping[str, str]) -> bool:
    """Whether this is the metadata of a safetensors file that holds a deployed network."""
    return _HEADER in metadata


def load_deployed(path: Path | str, model: nn.Module | None = None) -> Deployed:
    """The network of a file that `Deployed.save` wrote, its weights packed for this machine.

    Nothing in the file is run but calls from a fixed list of operations.

    Args:
        model: the original network's code, untrained, for one that was not captured whole; it is copied.

    Raises:
        UsageError: there is no such file, it is another kind of file, there are no native kernels here, or `model` is
            missing, not wanted, or of another architecture.
        DamagedFileError: the file is cut short or changed.
        HetconvError: the file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"looked for the deployed network {path}; it is not there")
    reason = native.why_not_loaded()
    if reason is not None:
        raise UsageError(f"{path} cannot be loaded: {reason}")
    try:
        with TensorReader(path) as reader:
            return _loaded(path, _File(path, reader), model)
    except NotSafetensorsError as error:
        raise DamagedFileError(path, f"not a whole safetensors file ({error})") from error


class _File:
    """A deployed network's file: what is read of it is checked before it is used, tensor by tensor."""

    def __init__(self, path: Path, reader: TensorReader) -> None:
        """Raises UsageError or DamagedFileError where its header is none that this version writes."""
        self._path, self._reader = path, reader
        metadata = reader.metadata
        if _HEADER not in metadata:
            raise UsageError(f"{path} is a safetensors file but no deployed network of hetconv")
        if _DIGESTS not in metadata:
            raise UsageError(f"{path} is of an earlier version of hetconv; deploy the network again")
        if metadata.get(_CHECKSUM) != _checksum(metadata[_HEADER], metadata[_DIGESTS]):
            raise self._changed()
        try:
            self._digests = TypeAdapter(dict[str, str]).validate_json(metadata[_DIGESTS])
            self.header = TypeAdapter(Header).validate_json(metadata[_HEADER])
        except ValidationError as error:
            raise DamagedFileError(path, f"its header cannot be read ({error.errors()[0]['msg']})") from error
        if self.header.format != FORMAT:
            raise UsageError(f"{path} is of format {self.header.format!r}; this hetconv reads {FORMAT!r}")

    def _changed(self) -> DamagedFileError:
        return DamagedFileError(self._path, "its checksum is not that of its content")

    def take(self, name: str) -> Tensor:
        """Raises KeyError where there is none of this name, DamagedFileError where it is not as it was written."""

        def check(layout: Layout, memory: Memory) -> None:
            if self._digests[name] != _digest(name, layout, memory):
                raise self._changed()

        return self._reader.read(name, check)

    def rest(self) -> dict[str, Tensor]:
        """The tensors that are in no graph."""
        names = (name for name in self._digests if name.startswith(f"{_REST}/"))
        return {name.removeprefix(f"{_REST}/"): self.take(name) for name in names}


def _loaded(path: Path, file: _File, model: nn.Module | None) -> Deployed:
    header = file.header
    if not header.parts and header.int8 is None:
        raise DamagedFileError(path, "it holds no graph")
    try:
        with torch.inference_mode(False), torch.no_grad():
            if header.int8 is not None:
                return _deployed(load_int8(header.int8, file.take), header)
            parts = [load_part(part, file.take) for part in header.parts]
            rest = file.rest()
    except (DamagedFileError, NotSafetensorsError):
        raise
    except (GraphError, KeyError, IndexError, UsageError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise DamagedFileError(path, f"its graph cannot be read: {error}") from error
    return _deployed(_network(path, parts, rest, model), header)


def _deployed(network: nn.Module, header: Header) -> Deployed:
    return Deployed(network, header.report, header.class_names, header.image_size)


def _network(path: Path, parts: list[DeployedPart], rest: Mapping[str, Tensor], model: nn.Module | None) -> nn.Module:
    if any(part.names == ("",) for part in parts):
        if model is not None:
            raise UsageError(f"{path} holds the whole network; load it without model")
        return parts[0]
    if model is None:
        names = ", ".join(part.names[0] for part in parts)
        raise UsageError(
            f"{path} holds parts of a network ({names}), whose own code is not saved; give it, untrained, as model"
        )
    model = copied(model).eval()
    try:
        for part in parts:
            for name in part.names:
                parent, _, key = name.rpartition(".")
                owner = model.get_submodule(parent)
                if key not in owner._modules:
                    raise AttributeError(f"it has no module {name}")
                part.keep_attributes(owner.get_submodule(key))
                owner._modules[key] = part
        model.load_state_dict(rest)
    except (AttributeError, RuntimeError) as error:
        raise UsageError(f"model is not the network that {path} was made of: {describe_error(error)}") from error
    return model


def _parts(network: nn.Module) -> Iterator[DeployedPart]:
    return (module for module in network.modules() if isinstance(module, DeployedPart))


def _checksum(header: str, digests: str) -> str:
    return hashlib.sha256(f"{len(header)} {header}{digests}".encode()).hexdigest()


def _digest_of(name: str, value: Tensor) -> str:
    memory = value.contiguous().reshape(-1).view(torch.uint8).numpy().data
    return _digest(name, Layout(value.dtype, tuple(value.shape)), memory)


def _digest(name: str, layout: Layout, memory: Memory | memoryview) -> str:
    """Of a tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(f"{name} {layout.dtype} {layout.shape} ".encode())
    digest.update(memory)
    return digest.hexdigest()
