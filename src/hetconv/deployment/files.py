"""A deployed network in one file: natural weights as safetensors, everything else as JSON in its header."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hetconv.deployment.deployed import Deployed
from hetconv.deployment.graph_json import GraphError, decode_graph, decode_value, encode_graph, encode_value
from hetconv.deployment.int8.network import Int8Network
from hetconv.deployment.int8.saved import SavedInt8, load_int8, save_int8
from hetconv.deployment.layout import in_layout
from hetconv.deployment.part import Constant, DeployedPart, constant_target
from hetconv.deployment.report import DeployReport
from hetconv.deployment.signature import Signature, TensorSpec
from hetconv.errors import DamagedFileError, UsageError
from hetconv.files import write_atomically
from hetconv.ops import native
from hetconv.pattern import Arrangement, HetPattern
from hetconv.records import Record

FORMAT = "hetconv-deployed-1"
_HEADER, _CHECKSUM = "hetconv_deployed", "sha256"
_WHOLE, _REST = "network", "rest"
"""Before the names of tensors: of a graph that is the whole network, and of what is in no graph."""


@dataclass(frozen=True)
class SavedPattern(Record):
    """`HetPattern`'s arguments."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int]
    p: int
    arrangement: Arrangement


@dataclass(frozen=True)
class SavedConstant(Record):
    """A tensor's name in the file; with a pattern, the tensors `….spatial` and `….pointwise`, packed when loaded."""

    name: str
    pattern: SavedPattern | None
    algorithm: native.Algorithm = "direct"


@dataclass(frozen=True)
class SavedTensorSpec(Record):
    """`TensorSpec`'s arguments."""

    dtype: str
    dims: int
    channels: int | None


@dataclass(frozen=True)
class SavedPart(Record):
    """One captured module: its names in the network, how it is called, its constants and its graph."""

    names: tuple[str, ...]
    structure: Any
    inputs: tuple[SavedTensorSpec, ...]
    constants: tuple[SavedConstant, ...]
    graph: list[dict[str, Any]]


@dataclass(frozen=True)
class Header(Record):
    """Everything of a deployed network but its tensors."""

    format: str
    parts: tuple[SavedPart, ...]
    report: DeployReport
    int8: SavedInt8 | None = None


def save_deployed(deployed: Deployed, path: Path) -> None:
    """Write the network whole or not at all.

    Raises:
        HetconvError: the disk is full or the folder cannot be written to.
        UsageError: weights were packed for an instruction set that is no longer chosen.
    """
    tensors: dict[str, Tensor] = {}
    parts = []
    for part in _parts(deployed.network):
        parts.append(_saved_part(part))
        for at, constant in enumerate(part.constants):
            for name, value in _natural(f"{_prefix(part.names)}/{constant.name}", part.tensor(at), constant.pattern):
                tensors[name] = value
    if not isinstance(deployed.network, DeployedPart):
        tensors |= {f"{_REST}/{name}": value for name, value in deployed.network.state_dict().items()}
    tensors = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    int8 = None
    if isinstance(deployed.network, Int8Network):
        int8, values = save_int8(deployed.network)
        tensors |= {name: value.contiguous().clone() for name, value in values.items()}
    header = TypeAdapter(Header).dump_json(Header(FORMAT, tuple(parts), deployed.report, int8)).decode()
    write_atomically(path, save(tensors, metadata={_HEADER: header, _CHECKSUM: _checksum(header, tensors)}))


def load_deployed(path: Path | str, model: nn.Module | None = None) -> Deployed:
    """The network of a file that `Deployed.save` wrote, its weights packed for this machine.

    Nothing in the file is run but calls from a fixed list of operations.

    Args:
        model: the original network's code, untrained, for one that was not captured whole; it is copied.

    Raises:
        UsageError: there is no such file, it is another kind of file, there are no native kernels here, or `model` is
            missing, not wanted, or of another architecture.
        DamagedFileError: the file is cut short or changed.
    """
    path = Path(path)
    header, tensors = _read(path)
    reason = native.why_not_loaded()
    if reason is not None:
        raise UsageError(f"{path} cannot be loaded: {reason}")
    if not header.parts and header.int8 is None:
        raise DamagedFileError(path, "it holds no graph")
    try:
        if header.int8 is not None:
            return Deployed(load_int8(header.int8, tensors), header.report)
        with torch.inference_mode(False), torch.no_grad():
            parts = [_loaded_part(part, tensors) for part in header.parts]
    except (GraphError, KeyError, IndexError, UsageError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedFileError(path, f"its graph cannot be read: {error}") from error
    return Deployed(_network(path, parts, tensors, model), header.report)


def _network(
    path: Path, parts: list[DeployedPart], tensors: Mapping[str, Tensor], model: nn.Module | None
) -> nn.Module:
    if any(part.names == ("",) for part in parts):
        if model is not None:
            raise UsageError(f"{path} holds the whole network; load it without model")
        return parts[0]
    if model is None:
        names = ", ".join(part.names[0] for part in parts)
        raise UsageError(
            f"{path} holds parts of a network ({names}), whose own code is not saved; give it, untrained, as model"
        )
    model = copy.deepcopy(model).eval()
    rest = {name.removeprefix(f"{_REST}/"): tensors[name] for name in tensors if name.startswith(f"{_REST}/")}
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
        lines = str(error).strip().splitlines()
        raise UsageError(f"model is not the network that {path} was made of: {lines[0]}") from error
    return model


def _parts(network: nn.Module) -> Iterator[DeployedPart]:
    return (module for module in network.modules() if isinstance(module, DeployedPart))


def _prefix(names: tuple[str, ...]) -> str:
    return names[0] or _WHOLE


def _natural(name: str, value: Tensor, pattern: HetPattern | None) -> Iterator[tuple[str, Tensor]]:
    if pattern is None:
        yield name, value
    else:
        spatial, pointwise = native.unpack_weights(value, pattern)
        yield f"{name}.spatial", spatial
        yield f"{name}.pointwise", pointwise


def _saved_part(part: DeployedPart) -> SavedPart:
    specs = tuple(SavedTensorSpec(spec.dtype, spec.dims, spec.channels) for spec in part.signature.tensors)
    constants = tuple(_saved_constant(one, part.tensor(at)) for at, one in enumerate(part.constants))
    graph = encode_graph(part.graph.graph, [constant_target(at) for at in range(len(constants))])
    return SavedPart(part.names, encode_value(part.signature.structure, _no_node), specs, constants, graph)


def _no_node(node: Any) -> dict[str, Any]:
    raise TypeError(f"{node} is no plain value")


def _saved_constant(constant: Constant, value: Tensor) -> SavedConstant:
    if constant.pattern is None:
        return SavedConstant(constant.name, None)
    return SavedConstant(constant.name, _saved_pattern(constant.pattern), native.algorithm_of(value))


def _saved_pattern(pattern: HetPattern) -> SavedPattern:
    return SavedPattern(pattern.in_channels, pattern.out_channels, pattern.kernel_hw, pattern.p, pattern.arrangement)


def _loaded_part(saved: SavedPart, tensors: Mapping[str, Tensor]) -> DeployedPart:
    constants, values = [], []
    for one in saved.constants:
        constants.append(Constant(one.name, None if one.pattern is None else HetPattern(**asdict(one.pattern))))
        name, pattern = f"{_prefix(saved.names)}/{one.name}", constants[-1].pattern
        if pattern is None:
            values.append(in_layout(tensors[name]))
        else:
            values.append(_packed(tensors[f"{name}.spatial"], tensors[f"{name}.pointwise"], pattern, one.algorithm))
    graph = decode_graph(saved.graph, [constant_target(at) for at in range(len(constants))])
    structure = decode_value(saved.structure)
    signature = Signature(structure, tuple(TensorSpec(**asdict(spec)) for spec in saved.inputs))
    if sum(node.op == "placeholder" for node in graph.nodes) != len(signature.tensors):
        raise GraphError("its inputs are not as many as the graph's")
    return DeployedPart(saved.names, signature, tuple(constants), values, graph)


def _packed(spatial: Tensor, pointwise: Tensor, pattern: HetPattern, algorithm: native.Algorithm) -> Tensor:
    if tuple(spatial.shape) != pattern.spatial_shape or tuple(pointwise.shape) != pattern.pointwise_shape:
        raise GraphError(f"weights of shape {tuple(spatial.shape)} are not those of {pattern}")
    return native.pack_weights(spatial, pointwise, pattern, algorithm)


class _Stored(Mapping[str, Tensor]):
    """The tensors of a file, each read when it is asked for: its memory goes with it, and not with the last one.

    A file that is opened once stays mapped as a whole while any of its tensors lives, and counts as memory that is
    held (64 MB more at the peak for VGG-16 with 32×32 images).
    """

    def __init__(self, path: Path, names: frozenset[str]) -> None:
        self.path, self.names = path, names

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.names))

    def __len__(self) -> int:
        return len(self.names)


def _read(path: Path) -> tuple[Header, Mapping[str, Tensor]]:
    if not path.is_file():
        raise UsageError(f"looked for the deployed network {path}; it is not there")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = _Stored(path, frozenset(file.keys()))
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(path, f"not a whole safetensors file ({error})") from error
    if _HEADER not in metadata:
        raise UsageError(f"{path} is a safetensors file but no deployed network of hetconv")
    if metadata.get(_CHECKSUM) != _checksum(metadata[_HEADER], tensors):
        raise DamagedFileError(path, "its checksum is not that of its content")
    try:
        header = TypeAdapter(Header).validate_json(metadata[_HEADER])
    except ValidationError as error:
        raise DamagedFileError(path, f"its header cannot be read ({error.errors()[0]['msg']})") from error
    if header.format != FORMAT:
        raise UsageError(f"{path} is of format {header.format!r}; this hetconv reads {FORMAT!r}")
    return header, tensors


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Of the header and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
