"""A deployed part as plain values and tensors in their natural order, as files and other processes get it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from hetconv.deployment.channels_last import in_layout
from hetconv.deployment.deployed_part import Constant, DeployedPart, constant_target
from hetconv.deployment.graph_json import GraphError, decode_graph, decode_value, encode_graph, encode_value
from hetconv.deployment.signature import Signature, TensorSpec
from hetconv.errors import UsageError
from hetconv.ops import native
from hetconv.pattern import Arrangement, HetPattern
from hetconv.records import Record

_WHOLE = "network"
"""Before the names of tensors of a graph that is the whole network."""


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
    """One captured module: its names in the network, how it is called, its constants and its graph.

    Attributes:
        planned: whether it runs as one native call.
    """

    names: tuple[str, ...]
    structure: Any
    inputs: tuple[SavedTensorSpec, ...]
    constants: tuple[SavedConstant, ...]
    graph: list[dict[str, Any]]
    planned: bool = False


def _prefix(names: tuple[str, ...]) -> str:
    return names[0] or _WHOLE


def _natural(name: str, value: Tensor, pattern: HetPattern | None) -> dict[str, Tensor]:
    if pattern is None:
        return {name: value}
    spatial, pointwise = native.unpack_weights(value, pattern)
    return {f"{name}.spatial": spatial, f"{name}.pointwise": pointwise}


def save_part(part: DeployedPart) -> tuple[SavedPart, dict[str, Tensor]]:
    """The part as plain values, and its tensors with natural weights.

    Raises:
        UsageError: weights were packed for an instruction set that is no longer chosen, or a number in the graph is
            larger than `load_part` takes.
    """
    tensors: dict[str, Tensor] = {}
    for at, constant in enumerate(part.constants):
        tensors |= _natural(f"{_prefix(part.names)}/{constant.name}", part.tensor(at), constant.pattern)
    specs = tuple(SavedTensorSpec(spec.dtype, spec.dims, spec.channels) for spec in part.signature.tensors)
    constants = tuple(_saved_constant(one, part.tensor(at)) for at, one in enumerate(part.constants))
    targets = [constant_target(at) for at in range(len(constants))]
    graph = encode_graph(part.graph.graph, targets)
    try:
        decode_graph(graph, targets)
    except GraphError as error:
        raise UsageError(f"{part.names[0] or 'the network'} cannot be saved: {error}") from error
    structure = encode_value(part.signature.structure, _no_node)
    return SavedPart(part.names, structure, specs, constants, graph, part.planned), tensors


def _no_node(node: Any) -> dict[str, Any]:
    raise TypeError(f"{node} is no plain value")


def _saved_constant(constant: Constant, value: Tensor) -> SavedConstant:
    if constant.pattern is None:
        return SavedConstant(constant.name, None)
    return SavedConstant(constant.name, _saved_pattern(constant.pattern), native.algorithm_of(value))


def _saved_pattern(pattern: HetPattern) -> SavedPattern:
    return SavedPattern(pattern.in_channels, pattern.out_channels, pattern.kernel_hw, pattern.p, pattern.arrangement)


def load_part(saved: SavedPart, take: Callable[[str], Tensor]) -> DeployedPart:
    """The part, its weights packed for this machine, one layer after the other.

    Args:
        take: gives the tensor of a name.

    Raises:
        GraphError, KeyError, IndexError, UsageError, TypeError, RuntimeError: it is none that `save_part` gives.
    """
    constants, values = [], []
    for one in saved.constants:
        constants.append(Constant(one.name, None if one.pattern is None else HetPattern(**asdict(one.pattern))))
        name, pattern = f"{_prefix(saved.names)}/{one.name}", constants[-1].pattern
        if pattern is None:
            values.append(in_layout(take(name)))
        else:
            values.append(_packed(take(f"{name}.spatial"), take(f"{name}.pointwise"), pattern, one.algorithm))
    graph = decode_graph(saved.graph, [constant_target(at) for at in range(len(constants))])
    structure = decode_value(saved.structure)
    signature = Signature(structure, tuple(TensorSpec(**asdict(spec)) for spec in saved.inputs))
    if sum(node.op == "placeholder" for node in graph.nodes) != len(signature.tensors):
        raise GraphError("its inputs are not as many as the graph's")
    return DeployedPart(saved.names, signature, tuple(constants), values, graph, saved.planned)


def _packed(spatial: Tensor, pointwise: Tensor, pattern: HetPattern, algorithm: native.Algorithm) -> Tensor:
    if tuple(spatial.shape) != pattern.spatial_shape or tuple(pointwise.shape) != pattern.pointwise_shape:
        raise GraphError(f"weights of shape {tuple(spatial.shape)} are not those of {pattern}")
    return native.pack_weights(spatial, pointwise, pattern, algorithm)
