"""A captured module as a module again: the graph on packed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule

from hetconv.deploy.captured import Captured
from hetconv.deploy.signature import Signature
from hetconv.deploy.structure import Slot
from hetconv.errors import UsageError
from hetconv.pattern import HetPattern

_ONE_TENSOR = ((Slot(0),), {})


@dataclass(frozen=True)
class Constant:
    """A tensor of the graph: its name, and of which layer it is the packed weights, if it is such."""

    name: str
    pattern: HetPattern | None


class DeployedPart(nn.Module):
    """A captured graph for inference on CPUs.

    Attributes:
        names: where it stands in the network; one empty name for the whole of it.
        constants: of the graph's buffers c0, c1, …

    Raises:
        UsageError: an input is not as the signature says, or wants gradients.
    """

    def __init__(self, names: tuple[str, ...], signature: Signature, captured: Captured) -> None:
        super().__init__()
        self.names, self.signature = names, signature
        self.constants = tuple(Constant(name, captured.packed.get(name)) for name in captured.constants)
        self.graph = _module_of(captured.graph, captured.constants)
        self._one_tensor = signature.structure == _ONE_TENSOR
        super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        tensors = self.signature.tensors_of(args, kwargs)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            raise UsageError("a deployed module has no gradients; call it under torch.no_grad(), or train the original")
        if torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self.graph(*tensors)
        return self.graph(*tensors)

    def tensor(self, number: int) -> Tensor:
        """The number-th constant, as the graph reads it."""
        return self.graph.get_buffer(f"c{number}")

    def extra_repr(self) -> str:
        calls = sum(node.op in ("call_function", "call_method") for node in self.graph.graph.nodes)
        return f"{calls} calls"


def _module_of(graph: Graph, constants: dict[str, Tensor]) -> GraphModule:
    targets = {name: f"c{number}" for number, name in enumerate(constants)}
    for node in graph.nodes:
        if node.op == "get_attr":
            node.target = targets[node.target]
        node.meta = {}
    root = nn.Module()
    for name, value in constants.items():
        root.register_buffer(targets[name], value.detach())
    module = GraphModule(root, graph, "DeployedGraph")
    for target in targets.values():
        module.register_buffer(target, module.get_buffer(target), persistent=False)
    return module.eval()
